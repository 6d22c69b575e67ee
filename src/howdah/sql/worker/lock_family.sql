create or replace function howdah.lock_family(id bigint, cascade boolean) returns void
language plpgsql
set jit = off set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  family bigint[];
  locked bigint[];
begin
  -- Most have no children, and need no subtransaction.
  if not (lock_family.cascade and exists (select from howdah.task t where t.parent = lock_family.id)) then
    perform howdah.lock_tasks(array(select t.parent from howdah.task t where t.id = lock_family.id and t.parent is not null) || lock_family.id);
    if not (lock_family.cascade and exists (select from howdah.task t where t.parent = lock_family.id)) then
      return;
    end if;
  end if;
  loop
    begin
      locked := '{}';
      loop
        family := array(select t.parent from howdah.task t where t.id = lock_family.id and t.parent is not null)
               || lock_family.id || howdah.descendants(array[lock_family.id]);
        if family <@ locked then
          return;
        elsif locked = '{}' then
          perform howdah.lock_tasks(family);
        else
          -- Who is locked spawns no more, but these were born while we waited, and may come before what we have: to wait for
          -- them could be a deadlock. If somebody has one, we let go of all, and begin again.
          perform from howdah.task t where t.id = any (family) for no key update nowait;
        end if;
        locked := family;
      end loop;
    exception when lock_not_available then
      if locked = '{}' then
        raise;
      end if;
    end;
  end loop;
end
$$;
comment on function howdah.lock_family(bigint, boolean) is
  'Lock a task that is to be cancelled and the parent that will be told, and with cascade all that it spawned: ids ascending.';
