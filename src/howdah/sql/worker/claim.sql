-- Take up to `room` due tasks of one queue, in the order priority desc, run_at, id.
--
-- Priorities are visited one by one, because only within one priority does `run_at <= now` end the scan of task_claim:
-- a million tasks scheduled for later cost nothing. `cursors` remembers per priority how far this worker has claimed,
-- {"priority": [run_at, id, groups]}: the scan starts there, past the dead entries that a long transaction elsewhere keeps
-- alive. What appeared behind a cursor waits until the worker passes no cursors, which it does often.
--
-- Tasks with groups stand in an index of their own, and are taken in claim_grouped: in turns before and after those without.
-- `cursors` also remembers under "groups" whether there are any: after many of them, and with a transaction that keeps their dead
-- entries alive, to ask would cost those without groups more than their own claim. Who passes no cursors asks anew.
create or replace function howdah.claim(
  worker  uuid,
  seq     bigint,
  queue   text,
  room    int,
  kinds   text[],
  inout cursors jsonb,
  fair    boolean default false,
  ageing  interval default null,
  out claimed  json[],
  out readers  bigint[],
  out next_due timestamptz,
  out gated    boolean,
  out crowded  boolean,
  out more     boolean
)
language plpgsql
set jit = off set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  clock    timestamptz := howdah.now();
  above    bigint := 2147483648;       -- priorities from here up are done
  known    int;                        -- the next lower priority with a cursor
  at       int;                        -- the priority being claimed
  until    timestamptz := clock;       -- those due later wait
  past_at  timestamptz;
  past_id  bigint;
  took     json[];
  reading  bigint[];
  last_at  timestamptz;
  last_id  bigint;
  due      timestamptz;
  grouped  boolean := (claim.cursors ->> 'groups')::boolean;
  remain   boolean := false;           -- whether some with groups are there, now or later
  first    boolean;                    -- whether those with groups come first this time
  mark     text[];
  other    int;
  levels   int[];                      -- with ageing: the priorities in the order of their oldest tasks …
  cutoffs  timestamptz[];              -- … and which of their tasks come before the next of them
  level    int := 0;
  gang     record;
begin
  claimed := '{}';
  readers := '{}';
  gated := false;
  crowded := false;
  more := false;
  claim.cursors := claim.cursors - 'groups';
  if grouped is null then
    grouped := exists (select from howdah.task t where t.status = 'queued' and t.groups is not null and t.queue = claim.queue);
  end if;
  if claim.ageing is not null then
    select array_agg(l.priority), array_agg(l.until) into levels, cutoffs from howdah.aged_levels(claim.queue, claim.ageing) l;
  end if;
  loop
    if claim.ageing is not null then
      level := level + 1;
      exit when level > coalesce(cardinality(levels), 0);
      at := levels[level];
      until := cutoffs[level];
      known := case when claim.cursors ? at::text then at end;
    else
      select max(k::int) into known from jsonb_object_keys(claim.cursors) k where k::int < above;
      -- Between two known priorities: is there a new one? The bounds keep the dead entries of the known ones out of the scan.
      select t.priority into at from howdah.task t
       where t.status = 'queued' and t.groups is null and t.queue = claim.queue and t.priority < above and t.priority > coalesce(known, -2147483649)
       order by t.priority desc limit 1;
      if grouped then
        select t.priority into other from howdah.task t
         where t.status = 'queued' and t.groups is not null and t.queue = claim.queue and t.priority < above and t.priority > coalesce(known, -2147483649)
         order by t.priority desc limit 1;
        at := greatest(at, other);
      end if;
      if at is null then
        exit when known is null;
        at := known;
      end if;
    end if;
    if known is distinct from at then
      past_at := '-infinity';
      past_id := 0;
      mark := null;
    else
      past_at := claim.cursors -> at::text ->> 0;
      past_id := claim.cursors -> at::text ->> 1;
      mark := nullif(claim.cursors -> at::text ->> 2, '{}');
    end if;

    for turn in 1 .. 2 loop
      first := grouped and claim.seq % 2 = 0;
      exit when cardinality(claimed) >= claim.room;
      if first = (turn = 1) then
        continue when not grouped;
        select * into gang from howdah.claim_grouped(claim.worker, claim.seq, claim.queue, at, until, claim.room - cardinality(claimed),
                                                     claim.kinds, claim.fair, mark);
        claimed := claimed || gang.claimed;
        readers := readers || gang.readers;
        mark := gang.mark;
        next_due := least(next_due, gang.next_due);
        gated := gated or gang.gated;
        crowded := crowded or gang.crowded;
        more := more or gang.more;
        remain := remain or gang.lanes > 0;
        claim.cursors := jsonb_set(claim.cursors, array[at::text], jsonb_build_array(past_at, past_id, mark::text));
        continue;
      end if;
      -- MATERIALIZED, or the planner may run the LIMIT again and take more than `room`; the status is tested again
      -- under the row lock, and only there: in the UPDATE it would invite the partial index; SKIP LOCKED lets two workers look at the same moment and take different rows.
      with pick as materialized (
        select t.id from howdah.task t
         where t.status = 'queued' and t.groups is null and t.queue = claim.queue and t.priority = at and t.run_at <= until
           and (t.run_at, t.id) > (past_at, past_id) and t.kind = any (claim.kinds)
           and (t.late is null or t.late = 'run' or (t.epoch > 0 or t.start_before is null or t.start_before > clock)
                                                    and (t.finish_before is null or t.finish_before > clock))
         order by t.run_at, t.id
         limit claim.room - cardinality(claimed)
           for update skip locked
      ), take as (
        update howdah.task t
           set status = 'running', worker = claim.worker, claim_seq = claim.seq, claimed_at = clock,
               epoch = t.epoch + 1, attempt = t.attempt + 1, progress = null
         -- As one array, and not as a join: a join planned while the table was small may walk along the whole primary key.
         where t.id = any (array(select id from pick))
        returning t.id, t.epoch, t.kind, t.queue, t.step, t.step_no, t.attempt, t.key, t.last_error, t.payload, t.run_at, t.parent, t.tick, t.inbox_seq,
                  extract(epoch from t.finish_before - clock) as time_left, t.late
      ), sorted as (
        select * from take order by run_at, id
      )
      select array_agg(json_build_array(k.id, k.epoch, k.kind, k.queue, k.step, k.step_no, k.attempt, k.key, k.last_error, k.payload, k.parent, k.tick, k.time_left, k.late)),
             max(k.run_at), (array_agg(k.id))[count(*)], array_agg(k.id) filter (where k.inbox_seq > 0)
        into took, last_at, last_id, reading
        from sorted k;

      if took is not null then
        claimed := claimed || took;
        readers := readers || reading;
        past_at := last_at;
        past_id := last_id;
        claim.cursors := jsonb_set(claim.cursors, array[at::text], jsonb_build_array(past_at, past_id, mark::text));
      elsif known is distinct from at then
        claim.cursors := jsonb_set(claim.cursors, array[at::text], jsonb_build_array(past_at, past_id, mark::text));
      end if;
    end loop;
    exit when cardinality(claimed) >= claim.room;
    select t.run_at into due from howdah.task t
     where t.status = 'queued' and t.groups is null and t.queue = claim.queue and t.priority = at and t.run_at > clock and t.kind = any (claim.kinds)
     order by t.run_at limit 1;
    next_due := least(next_due, due);
    above := at;
  end loop;
  -- With no room left, it may have looked at none of them.
  claim.cursors := jsonb_set(claim.cursors, '{groups}', to_jsonb(grouped and (remain or cardinality(claimed) >= claim.room)));
end
$$;
comment on function howdah.claim(uuid, bigint, text, int, text[], jsonb, boolean, interval) is
  'Take due tasks of one queue for a worker: each becomes running, with epoch and attempt one higher. fair, ageing: as in howdah.set_queue. readers: those of them that were ever sent a message. next_due is the earliest time at which a waiting one of these kinds is due, when room was left. gated: limits of groups kept something back; crowded: which may go on when something ends; more: look again at once.';
