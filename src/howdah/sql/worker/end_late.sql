-- Nothing here waits for a lock: what somebody else holds is passed over, and is there at the next look. So many can be
-- ended in one transaction, in any order.
create or replace function howdah.end_late(id bigint, epoch bigint) returns text
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  t      howdah.task;
  clock  timestamptz := howdah.now();
  missed timestamptz;
  said   text;
  family bigint[];
  locked bigint[];
begin
  -- It may have begun or ended, or have another deadline, since somebody looked.
  select * into t from howdah.task x
   where x.id = end_late.id and x.epoch = end_late.epoch and x.status <> 'failed' and x.late in ('drop', 'park')
     for no key update skip locked;
  missed := case when t.epoch = 0 then least(t.start_before, t.finish_before) else t.finish_before end;
  if t.id is null or missed is null or missed > clock then
    return null;
  elsif t.cancel_at is not null then
    return case when howdah.lose(t.id, t.epoch, 'cancel', null, false) then 'dropped' end;
  end if;
  -- Its parent is told, and with a task that is dropped goes what it spawned.
  family := t.parent || case when t.late = 'drop' then howdah.descendants(array[t.id]) end;
  locked := array(select x.id from howdah.task x where x.id = any (family) order by x.id for no key update skip locked);
  family := t.parent || case when t.late = 'drop' then howdah.descendants(array[t.id]) end;
  if exists (select from howdah.task x where x.id = any (family) and not x.id = any (locked)) then
    return null;
  end if;

  said := case when t.epoch = 0 and t.start_before = missed then format('it was to begin before %s', missed)
               else format('it was to end before %s', missed) end
          || coalesce('; its last attempt failed: ' || t.last_error, '');
  insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, worker, message, data)
  values (clock, t.id, 'late', t.kind, t.step, t.attempt, t.epoch, t.worker, said, jsonb_build_object('parked', t.late = 'park'));
  if t.late = 'drop' then
    delete from howdah.task x where x.id = t.id;
    perform howdah.bury(t, 'cancelled', null, 'deadline passed: ' || said);
    perform howdah.cancel_children(array[t.id]);
    return 'dropped';
  end if;
  said := 'DeadlinePassed: ' || said;
  update howdah.task x
     set status = 'failed', worker = null, claim_seq = null, joining = false, error = said, last_error = null,
         told = x.told or x.parent is not null
   where x.id = t.id;
  if t.parent is not null and not t.told then
    perform howdah.deliver(howdah.ends(jsonb_build_array(jsonb_build_object(
      'id', t.id, 'parent', t.parent, 'told', false, 'status', 'failed', 'error', said))));
  end if;
  return 'parked';
end
$$;
comment on function howdah.end_late(bigint, bigint) is
  'End a task whose deadline has passed as its policy says: dropped (cancelled, with what it spawned) or parked. NULL if it is not late, has no such policy, or somebody holds it or its family right now.';
