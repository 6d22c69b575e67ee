-- Take up to `room` due tasks of one queue, in the order priority desc, run_at, id.
--
-- Priorities are visited one by one, because only within one priority does `run_at <= now` end the scan of task_claim:
-- a million tasks scheduled for later cost nothing. `cursors` remembers per priority how far this worker has claimed,
-- {"priority": [run_at, id]}: the scan starts there, past the dead entries that a long transaction elsewhere keeps
-- alive. What appeared behind a cursor waits until the worker passes no cursors, which it does often.
create or replace function howdah.claim(
  worker  uuid,
  seq     bigint,
  queue   text,
  room    int,
  kinds   text[],
  inout cursors jsonb,
  out claimed  json[],
  out readers  bigint[],
  out next_due timestamptz
)
language plpgsql
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  clock    timestamptz := howdah.now();
  above    bigint := 2147483648;       -- priorities from here up are done
  known    int;                        -- the next lower priority with a cursor
  at       int;                        -- the priority being claimed
  past_at  timestamptz;
  past_id  bigint;
  took     json[];
  reading  bigint[];
  last_at  timestamptz;
  last_id  bigint;
  due      timestamptz;
begin
  claimed := '{}';
  readers := '{}';
  loop
    select max(k::int) into known from jsonb_object_keys(claim.cursors) k where k::int < above;
    -- Between two known priorities: is there a new one? The bounds keep the dead entries of the known ones out of the scan.
    select t.priority into at from howdah.task t
     where t.status = 'queued' and t.queue = claim.queue and t.priority < above and t.priority > coalesce(known, -2147483649)
     order by t.priority desc limit 1;
    if found then
      past_at := '-infinity';
      past_id := 0;
    elsif known is not null then
      at := known;
      past_at := claim.cursors -> at::text ->> 0;
      past_id := claim.cursors -> at::text ->> 1;
    else
      exit;
    end if;

    -- MATERIALIZED, or the planner may run the LIMIT again and take more than `room`; the status is tested again
    -- under the row lock, and only there: in the UPDATE it would invite the partial index; SKIP LOCKED lets two workers look at the same moment and take different rows.
    with pick as materialized (
      select t.id from howdah.task t
       where t.status = 'queued' and t.queue = claim.queue and t.priority = at and t.run_at <= clock
         and (t.run_at, t.id) > (past_at, past_id) and t.kind = any (claim.kinds)
       order by t.run_at, t.id
       limit claim.room - cardinality(claimed)
         for update skip locked
    ), take as (
      update howdah.task t
         set status = 'running', worker = claim.worker, claim_seq = claim.seq, claimed_at = clock,
             epoch = t.epoch + 1, attempt = t.attempt + 1, progress = null
       -- As one array, and not as a join: a join planned while the table was small may walk along the whole primary key.
       where t.id = any (array(select id from pick))
      returning t.id, t.epoch, t.kind, t.queue, t.step, t.step_no, t.attempt, t.key, t.last_error, t.payload, t.run_at, t.parent, t.tick, t.inbox_seq
    ), sorted as (
      select * from take order by run_at, id
    )
    select array_agg(json_build_array(k.id, k.epoch, k.kind, k.queue, k.step, k.step_no, k.attempt, k.key, k.last_error, k.payload, k.parent, k.tick)),
           max(k.run_at), (array_agg(k.id))[count(*)], array_agg(k.id) filter (where k.inbox_seq > 0)
      into took, last_at, last_id, reading
      from sorted k;

    if took is not null then
      claimed := claimed || took;
      readers := readers || reading;
      claim.cursors := jsonb_set(claim.cursors, array[at::text], jsonb_build_array(last_at, last_id));
    elsif known is distinct from at then
      claim.cursors := jsonb_set(claim.cursors, array[at::text], jsonb_build_array('-infinity', 0));
    end if;
    exit when cardinality(claimed) >= claim.room;
    select t.run_at into due from howdah.task t
     where t.status = 'queued' and t.queue = claim.queue and t.priority = at and t.run_at > clock and t.kind = any (claim.kinds)
     order by t.run_at limit 1;
    next_due := least(next_due, due);
    above := at;
  end loop;
end
$$;
comment on function howdah.claim(uuid, bigint, text, int, text[], jsonb) is
  'Take due tasks of one queue for a worker: each becomes running, with epoch and attempt one higher. readers: those of them that were ever sent a message. next_due is the earliest time at which a waiting one of these kinds is due, when room was left.';
