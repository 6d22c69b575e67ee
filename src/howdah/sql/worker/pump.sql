-- One round trip of a busy worker: settle everything that ended, then claim what is due. One transaction: what is
-- claimed here was claimed by a worker that was alive when it settled.
create or replace function howdah.pump(
  worker       uuid,
  seq          bigint,
  done_ids     bigint[],
  done_epochs  bigint[],
  results      jsonb,
  gone_ids     bigint[],
  gone_epochs  bigint[],
  transitions  jsonb,
  lanes        jsonb,
  room         int,
  asleep       boolean,
  look         boolean default true,
  eager        jsonb default null
) returns table (settled bigint[], kept bigint[], claimed text, inboxes text, cursors jsonb, next_due double precision, gated boolean, crowded boolean, more boolean)
language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off
-- Before PostgreSQL 18 a plan with a step that is off, and needed all the same, is so dear that it is compiled: each time anew.
set jit = off
-- A row that somebody holds in an open transaction must not stall all the others: the worker settles them one by one then.
set lock_timeout = '500ms'
as $$
#variable_conflict use_column
declare
  lane   record;
  take   record;
  clock  timestamptz := howdah.now();
  due    timestamptz;
  got    json[] := '{}';
  full_lanes text[] := '{}';
  rest   record;
  gate   howdah.queue;
  places int;
  counted text[];
  set_up  record;
  looks  boolean := pump.look;
  readers bigint[] := '{}';
begin
  -- Locked against rescue, which would otherwise declare this worker dead between this look and the claim.
  perform from howdah.worker w where w.id = pump.worker and w.status = 'live' for key share;
  if not found then
    raise exception using errcode = 'HW008', message = format('worker %s lost its lease', pump.worker);
  end if;

  -- Three runs over the ids below, each ascending: together they would not be, so all are locked first.
  if (pump.done_ids is not null)::int + (pump.gone_ids is not null)::int + (pump.transitions is not null)::int > 1 then
    perform howdah.lock_tasks(pump.done_ids || pump.gone_ids || case when pump.transitions is not null then howdah.concerned(pump.transitions) end);
  end if;

  -- Settle before claiming: a task that just ended may hold what the next claim needs.
  settled := '{}';
  gated := false;
  crowded := false;
  more := false;
  if pump.done_ids is not null then
    settled := settled || howdah.settle_done(pump.worker, pump.done_ids, pump.done_epochs, pump.results, false);
  end if;
  if pump.gone_ids is not null then
    settled := settled || howdah.settle_done(pump.worker, pump.gone_ids, pump.gone_epochs, null, true);
  end if;
  if pump.transitions is not null then
    select * into rest from howdah.settle_rest(pump.worker, pump.transitions, pump.seq, pump.eager, pump.room);
    settled := settled || rest.settled;
    kept := rest.kept;
    looks := looks or rest.due;
    got := coalesce(rest.taken, '{}');
    -- Of those that go on, most have no inbox.
    readers := rest.readers || array(select t.id from howdah.task t where t.id = any (kept) and t.inbox_seq > 0);
  end if;

  if pump.asleep is not null then
    update howdah.worker w set asleep = pump.asleep where w.id = pump.worker and w.asleep <> pump.asleep;
  end if;

  -- Two rounds: each lane its share, then what is left of the room to whoever has more work and is below its own limit.
  if looks and pump.room > cardinality(got) then
    cursors := '{}';
    -- Most fleets have neither: then nobody asks again for each lane.
    select exists (select from howdah.queue q) as queues, exists (select from howdah.queue q where q.max_running is not null) as limits,
           exists (select from howdah.kind k where k.disabled_at is not null) as disabled
      into set_up;
    if set_up.limits then
      counted := howdah.lock_limits(pump.lanes);
    end if;
    for lane in
      select x.name, x.queue, case when set_up.disabled then howdah.enabled(x.kinds) else x.kinds end as kinds, x.cursors, r.round,
             case r.round when 1 then x.share else x."limit" - x.share end as share
        from jsonb_to_recordset(pump.lanes) x (name text, queue text, kinds text[], share int, "limit" int, cursors jsonb)
        cross join (values (1), (2)) r (round)
       order by r.round
    loop
      exit when cardinality(got) >= pump.room;
      continue when lane.share <= 0 or lane.kinds = '{}' or lane.round = 2 and not lane.name = any (full_lanes);
      gate := null;
      if set_up.queues then
        select * into gate from howdah.queue q where q.name = lane.queue;
        continue when gate.paused;
      end if;
      places := lane.share;
      if gate.max_running is not null then
        places := case when lane.queue = any (counted) then least(places, gate.max_running - howdah.running_in(lane.queue)) else 0 end;
        -- What is kept back is to be looked for soon: a place may come free on another worker.
        if places <= 0 then
          if not crowded then
            crowded := howdah.has_queued(lane.queue);
          end if;
          continue;
        end if;
      end if;
      select * into take from howdah.claim(pump.worker, pump.seq, lane.queue, least(places, pump.room - cardinality(got)),
                                           lane.kinds, coalesce(cursors -> lane.name, lane.cursors), coalesce(gate.fair, false), gate.ageing);
      if cardinality(take.claimed) >= lane.share then
        full_lanes := full_lanes || lane.name;
      elsif places < lane.share and cardinality(take.claimed) >= places and not crowded then
        crowded := howdah.has_queued(lane.queue);
      end if;
      gated := gated or take.gated;
      crowded := crowded or take.crowded;
      more := more or take.more and cardinality(take.claimed) < least(places, pump.room - cardinality(got));
      got := got || take.claimed;
      readers := readers || take.readers;
      cursors := jsonb_set(cursors, array[lane.name], take.cursors);
      due := least(due, take.next_due);
    end loop;
    next_due := extract(epoch from due - clock);
    gated := gated or crowded;
  end if;
  if cardinality(got) > 0 then
    claimed := array_to_json(got)::text;
  end if;
  -- After the rows were taken, in a statement of its own: its snapshot has every message that inbox_seq counts.
  if readers <> '{}' then
    inboxes := howdah.inboxes(readers);
  end if;
  return next;
end
$$;
comment on function howdah.pump(uuid, bigint, bigint[], bigint[], jsonb, bigint[], bigint[], jsonb, jsonb, int, boolean, boolean, jsonb) is
  'The worker''s round trip: settle done, gone (succeeded, nothing kept) and other transitions; say whether it is asleep; claim, if it is to look or something settled is due, up to room tasks from its lanes, a JSON array of {name, queue, kinds, share, limit, cursors}; eager = {queue: [kinds]}: begin what its messages wake at once. Returns the settled ids, those that go on at once under the next epoch (kept), the claimed tasks as JSON arrays [id, epoch, kind, queue, step, step_no, attempt, key, last_error, payload, parent, tick, seconds left until its deadline, what becomes of it then], the inboxes of both as howdah.inboxes gives them, the cursors to pass next time, the seconds until the next task is due, whether limits kept something back (gated), also such as may go on as soon as something ends anywhere (crowded), and whether there is more to look at at once. HW008: the lease is lost.';
