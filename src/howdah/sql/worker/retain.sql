create or replace function howdah.retain() returns table (dropped int, deleted bigint)
language plpgsql
-- Whoever reads the archive for an hour (a dump, a report) keeps a day from being dropped; while we wait for it, every end
-- of a task would wait behind us. So hardly at all, and again later.
set lock_timeout = '200ms'
as $$
#variable_conflict use_column
declare
  clock   timestamptz := howdah.now();
  longest interval := (select max(k.keep) from howdah.kind k);
  part    record;
  here    bigint;
begin
  dropped := 0; deleted := 0;
  if not pg_try_advisory_xact_lock(hashtext('howdah.retain')) then
    return next;
    return;
  end if;
  for part in
    select c.relname::text as name, p.relname::text as parent,
           to_timestamp(right(c.relname, 8) || ' 00:00:00+00', 'YYYYMMDD HH24:MI:SSTZH') + interval '24 hours' as until
      from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
     where p.relnamespace = 'howdah'::regnamespace and p.relname in ('archive', 'event') and c.relname ~ '_[0-9]{8}$'
     order by c.relname
  loop
    continue when part.until > clock;
    -- In parentheses: IF reads as far as the first THEN outside of them.
    if (part.until + case part.parent when 'event' then interval '30 days' else coalesce(longest, '7 days') end) < clock then
      execute format('drop table howdah.%I', part.name);
      dropped := dropped + 1;
    end if;
  end loop;
  -- Kinds that keep less than the longest: row by row, a bounded number a turn.
  with over as (
    select a.tableoid, a.ctid from howdah.archive a join howdah.kind k on k.name = a.kind
     where k.keep < coalesce(longest, '7 days') and a.finished_at < clock - k.keep limit 10000
  )
  delete from howdah.archive a using over o where a.tableoid = o.tableoid and a.ctid = o.ctid;
  get diagnostics here = row_count;
  deleted := deleted + here;
  -- A dead worker's row goes a day later, and only when no task names it.
  delete from howdah.worker w
   where w.status = 'dead' and w.ended_at < clock - interval '1 day'
     and not exists (select from howdah.task t where t.worker = w.id and t.status = 'running');
  -- What a TRUNCATE or a restore left behind, where no trigger fires.
  delete from howdah.slot s where not exists (select from howdah.task t where t.id = s.task_id and t.status = 'running');
  -- Groups that nobody limited by name come back when they are met again.
  delete from howdah."group" g using (
    select x.name from howdah."group" x
     where not x.own and x.used_at < clock - interval '1 day' and x.tat < clock and coalesce(x.closed_until, '-infinity') < clock
       and not exists (select from howdah.slot s where s.group_name = x.name)
     limit 10000 for update skip locked) old
   where g.name = old.name;
  -- Last, and past what somebody is just taking over: no enqueue waits for us while we hold these rows for longer than this.
  delete from howdah.key k
   using (select o.key from howdah.key o where o.until < clock order by o.until limit 10000 for update skip locked) over
   where k.key = over.key;
  return next;
end
$$;
comment on function howdah.retain() is 'Drop partitions of the archive and of events whose time is over, delete what kinds keep for less, forget workers that ended a day ago, groups without a limit of their own that were met a day ago, and keys that are taken no longer.';
