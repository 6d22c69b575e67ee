create or replace function howdah.examine_partitions()
returns table ("check" text, status text, found text, fix text)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  clock timestamptz := howdah.now();
  today timestamptz := date_trunc('day', clock at time zone 'UTC') at time zone 'UTC';
begin
  return query
  select 'partitions', 'warn', format('There is no %s: what belongs there goes to the default partition', string_agg(p.name, ', ' order by p.name)),
         'SELECT howdah.make_partitions(); live workers do it by themselves'
    from (select parent || '_' || to_char((today + n * interval '24 hours') at time zone 'UTC', 'YYYYMMDD') as name
            from unnest(array['archive', 'event']) parent, generate_series(0, 1) n) p
   where to_regclass('howdah.' || p.name) is null
  having count(*) > 0
  union all
  select 'partitions', 'warn', format('%s rows of howdah.%s are in the default partition, the oldest of %s: retention never drops them', d.late, d.parent, d.oldest),
         case when d.oldest >= today then 'SELECT howdah.make_partitions();'
              else format('DELETE FROM howdah.%s_default WHERE %s < %L; SELECT howdah.make_partitions();', d.parent, d.stamp, to_char(today at time zone 'UTC', 'YYYY-MM-DD 00:00:00+00')) end
    from (select 'archive', 'finished_at', count(*), min(a.finished_at) from howdah.archive_default a
          union all
          select 'event', 'at', count(*), min(e.at) from howdah.event_default e) d (parent, stamp, late, oldest)
   where d.late > 0
  union all
  select 'partitions', 'warn', format('%s days are kept longer than any kind asks for, the oldest is howdah.%s', count(*), min(o.name)),
         'SELECT * FROM howdah.retain(); if it drops none, somebody reads the archive all the time'
    from (select c.relname::text as name, p.relname as parent, to_timestamp(right(c.relname, 8) || ' 00:00:00+00', 'YYYYMMDD HH24:MI:SSTZH') as day
            from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
           where p.relnamespace = 'howdah'::regnamespace and p.relname in ('archive', 'event') and c.relname ~ '_[0-9]{8}$') o
   where o.day < clock - interval '2 days' - case o.parent when 'event' then interval '30 days' else coalesce((select max(k.keep) from howdah.kind k), '7 days') end
  having count(*) > 0;
  if not found then
    return query select 'partitions', 'ok', 'Today and tomorrow have theirs, and none is too old', null;
  end if;
end
$$;
comment on function howdah.examine_partitions() is 'Part of howdah.doctor: the days of the archive and of the events.';
