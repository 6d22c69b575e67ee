-- A page of what a filter finds: `free` are ours now, in the order in which everybody locks. Nobody is waited for, so that one
-- long transaction does not stop a repair of a million tasks, and no deadlock is possible.
create or replace function howdah.lock_page(filter jsonb, after bigint, at_most int, out free bigint[], out others jsonb)
language plpgsql
as $$
declare
  chosen text := howdah.condition(lock_page.filter);
  page   bigint[];
  held   bigint[];
begin
  if coalesce(lock_page.at_most, 0) < 1 then
    raise exception using errcode = 'HW002', message = format('at_most must be at least 1, not %s', lock_page.at_most), hint = 'Leave it out for 1000';
  end if;
  execute format('select array(select t.id from howdah.task t where t.id > $1 and %s order by t.id limit $2)', chosen) into page using lock_page.after, lock_page.at_most;
  -- The condition is asked again under the lock.
  execute format('select array(select t.id from howdah.task t where t.id = any ($1) and %s order by t.id for no key update skip locked)', chosen) into free using page;
  execute format('select array(select t.id from howdah.task t where t.id = any ($1) and t.id <> all ($2) and %s order by t.id)', chosen) into held using page, free;
  select coalesce(jsonb_agg(jsonb_build_object('id', x, 'why', case when x = any (held) then 'another transaction holds it' else 'it has moved on' end)), '[]')
    into others from unnest(page) x where x <> all (free);
end
$$;
comment on function howdah.lock_page(jsonb, bigint, int) is 'Lock the first so many tasks after an id that a filter finds; others: what is not locked of them, as {id, why}.';
