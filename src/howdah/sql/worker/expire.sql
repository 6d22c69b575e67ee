-- What waits is never started late: the claim looks. This ends it, so that it is not there for ever and those who wait for it hear.
-- The index task_deadline has only tasks with a deadline to keep: without any, this costs nothing.
create or replace function howdah.expire(at_most int default 1000) returns table (dropped int, parked int, next_in double precision)
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  clock  timestamptz := howdah.now();
  late   record;
  became text;
begin
  dropped := 0; parked := 0;
  for late in
    select t.id, t.epoch from howdah.task t
     where t.late in ('drop', 'park') and t.status in ('queued', 'suspended')
       and (case when t.epoch = 0 then least(t.start_before, t.finish_before) else t.finish_before end) <= clock
     order by (case when t.epoch = 0 then least(t.start_before, t.finish_before) else t.finish_before end)
     limit expire.at_most
  loop
    begin
      became := howdah.end_late(late.id, late.epoch);
      dropped := dropped + (became is not distinct from 'dropped')::int;
      parked := parked + (became is not distinct from 'parked')::int;
    exception when others then
      -- One row that refuses must not keep the others.
      raise warning 'howdah: task % is late and cannot be ended: %', late.id, sqlerrm;
    end;
  end loop;
  select extract(epoch from (case when t.epoch = 0 then least(t.start_before, t.finish_before) else t.finish_before end) - clock)
    into next_in from howdah.task t
   where t.late in ('drop', 'park') and t.status in ('queued', 'suspended')
     and (case when t.epoch = 0 then least(t.start_before, t.finish_before) else t.finish_before end) > clock
   order by (case when t.epoch = 0 then least(t.start_before, t.finish_before) else t.finish_before end) limit 1;
  return next;
end
$$;
comment on function howdah.expire(int) is
  'Drop or park the waiting tasks whose deadline has passed, as each says, at most so many per call. Returns how many, and the seconds until the next deadline.';
