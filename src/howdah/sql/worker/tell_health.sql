-- Whoever locks the row of scope all looks, for all; the others pass by. What is told is enqueued in the transaction that writes
-- down that it was told: once in the whole fleet, or not at all.
create or replace function howdah.tell_health(
  task  text,
  each  boolean default false,
  hold  interval default '30 s',
  every interval default '15 s'
) returns int
language plpgsql
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
  head  howdah.alert;
  found_row record;
  since timestamptz;
  told  int := 0;
begin
  -- Not by ON CONFLICT alone: that waits for whoever is about to change the row.
  insert into howdah.alert (task, scope, name, since) select tell_health.task, 'all', 'all', clock
   where not exists (select from howdah.alert a where a.task = tell_health.task and a.scope = 'all') on conflict do nothing;
  select * into head from howdah.alert a where a.task = tell_health.task and a.scope = 'all' for no key update skip locked;
  if not found or head.looked_at > clock - tell_health.every * 0.7 then
    return 0;
  end if;
  update howdah.alert a set looked_at = clock where a.task = tell_health.task and a.scope = 'all';

  for found_row in
    with found as materialized (
      select h.scope, h.name, h.colour, h.reason, row_number() over () as place from howdah.health() h      -- worst first
    ), wrong as (
      select string_agg(format('%s %s: %s', f.scope, f.name, f.reason), '; ' order by f.place) filter (where f.place <= 3) as reasons, count(*) as things
        from found f where f.colour <> 'green'
    ), now_is as (
      select 'all' as scope, 'all' as name, (select f.colour from found f order by f.place limit 1) as colour,
             case when w.things = 0 then 'Nothing is wrong' when w.things > 3 then format('%s; and %s more', w.reasons, w.things - 3) else w.reasons end as reason
        from wrong w
      union all
      select f.scope, f.name, (array_agg(f.colour order by f.place))[1], (array_agg(f.reason order by f.place))[1]
        from found f where tell_health.each group by f.scope, f.name
    ), before as (
      select a.scope, a.name, a.colour, a.seen, a.since from howdah.alert a
       where a.task = tell_health.task and (tell_health.each or a.scope = 'all')
    )
    select coalesce(n.scope, b.scope) as scope, coalesce(n.name, b.name) as name, coalesce(n.colour, 'green') as colour,
           coalesce(n.reason, 'It is no longer there') as reason, b.scope is not null as known,
           coalesce(b.colour, 'green') as told, coalesce(b.seen, 'green') as seen, coalesce(b.since, clock) as since
      from now_is n full join before b on b.scope = n.scope and b.name = n.name
     where b.scope is not null or n.colour <> 'green'
  loop
    -- A colour that does not last is not told.
    since := case when found_row.colour = found_row.seen then found_row.since else clock end;
    if not found_row.known then
      insert into howdah.alert (task, scope, name, seen, since) values (tell_health.task, found_row.scope, found_row.name, found_row.colour, since);
    elsif found_row.colour <> found_row.seen then
      update howdah.alert a set seen = found_row.colour, since = clock
       where a.task = tell_health.task and a.scope = found_row.scope and a.name = found_row.name;
    end if;
    if found_row.colour <> found_row.told and clock - since >= tell_health.hold then
      perform howdah.enqueue(tell_health.task, jsonb_build_object('scope', found_row.scope, 'name', found_row.name, 'colour', found_row.colour,
                                                                  'before', found_row.told, 'reason', found_row.reason));
      update howdah.alert a set colour = found_row.colour, told_at = clock
       where a.task = tell_health.task and a.scope = found_row.scope and a.name = found_row.name;
      told := told + 1;
    elsif found_row.colour = 'green' and found_row.told = 'green' and found_row.scope <> 'all' and clock - since >= tell_health.hold then
      delete from howdah.alert a where a.task = tell_health.task and a.scope = found_row.scope and a.name = found_row.name;
    end if;
  end loop;
  return told;
end
$$;
comment on function howdah.tell_health(text, boolean, interval, interval) is
  'Enqueue a task of this kind for each colour that has changed and has been so for at least hold: the overall one, and with each those of every kind, queue and so on. Any number of workers may call it: somebody looks once in every. Returns how many were enqueued.';
