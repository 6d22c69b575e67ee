create or replace function howdah.make_partitions(ahead int default 7) returns int
language plpgsql
-- As in retain: everybody else waits behind a lock that waits.
set lock_timeout = '200ms'
as $$
#variable_conflict use_column
declare
  parent text;
  stamp  text;
  first  timestamptz;
  name   text;
  made   int := 0;
begin
  -- One at a time: two makers of the same partition would deadlock on the default one.
  perform pg_advisory_xact_lock(hashtext('howdah.make_partitions'));
  foreach parent in array array['archive', 'event'] loop
    stamp := case parent when 'archive' then 'finished_at' else 'at' end;
    for n in 0 .. make_partitions.ahead loop
      first := (date_trunc('day', howdah.now() at time zone 'UTC') + make_interval(days => n)) at time zone 'UTC';
      name := parent || '_' || to_char(first at time zone 'UTC', 'YYYYMMDD');
      continue when to_regclass('howdah.' || name) is not null;
      execute format('create table howdah.%I (like howdah.%I including defaults including constraints including indexes)', name, parent);
      execute format('comment on table howdah.%I is %L', name, format('%s of %s (UTC)', initcap(parent), to_char(first at time zone 'UTC', 'YYYY-MM-DD')));
      -- A day that began before its partition was made: its rows wait in the default partition.
      execute format('with early as (delete from howdah.%1$I where %2$I >= $1 and %2$I < $2 returning *) insert into howdah.%3$I select * from early',
                     parent || '_default', stamp, name) using first, first + interval '24 hours';
      -- In ISO: the text of a timestamptz in another DateStyle has a zone's abbreviation, which may be read as another zone.
      execute format('alter table howdah.%I attach partition howdah.%I for values from (%L) to (%L)', parent, name,
                     to_char(first at time zone 'UTC', 'YYYY-MM-DD 00:00:00+00'), to_char((first + interval '24 hours') at time zone 'UTC', 'YYYY-MM-DD 00:00:00+00'));
      made := made + 1;
    end loop;
  end loop;
  return made;
end
$$;
comment on function howdah.make_partitions(int) is 'Make the daily partitions of archive and event from today on. Returns how many were missing.';
