create or replace function howdah.purge(
  kind    text,
  dry_run boolean default false,
  at_most int default 1000,
  out live    bigint,
  out running bigint,
  out ended   bigint,
  out events  bigint,
  out more boolean
)
language plpgsql
as $$
#variable_conflict use_column
begin
  if not exists (select from howdah.kind k where k.name = purge.kind) and not exists (select from howdah.task t where t.kind = purge.kind) then
    perform howdah.known_kind(purge.kind);
  end if;
  more := true;
  if purge.dry_run then
    select count(*) filter (where t.status <> 'running'), count(*) filter (where t.status = 'running') into live, running from howdah.task t where t.kind = purge.kind;
    select count(*) into ended from howdah.archive a where a.kind = purge.kind;
    select count(*) into events from howdah.event e where e.kind = purge.kind;
    return;
  end if;
  -- As everybody cancels: parents hear of it, children go along, inboxes are emptied.
  select count(*) filter (where c.outcome = 'cancelled'), count(*) filter (where c.outcome <> 'cancelled') into live, running
    from howdah.cancel_all(jsonb_build_object('kind', purge.kind, 'status', '["queued", "suspended", "failed"]'::jsonb),
                           format('kind %s was purged', purge.kind), at_most => purge.at_most) c;
  -- Those pages look through whole tables: they come when nothing is added any more.
  if live > 0 then
    ended := 0;
    events := 0;
    return;
  end if;
  with oldest as (
    select a.tableoid, a.ctid from howdah.archive a where a.kind = purge.kind limit 10 * purge.at_most
  )
  delete from howdah.archive a using oldest s where a.tableoid = s.tableoid and a.ctid = s.ctid;
  get diagnostics ended = row_count;
  with oldest as (
    select e.tableoid, e.ctid from howdah.event e where e.kind = purge.kind limit 10 * purge.at_most
  )
  delete from howdah.event e using oldest s where e.tableoid = s.tableoid and e.ctid = s.ctid;
  get diagnostics events = row_count;
  more := ended > 0 or events > 0;
  if more then
    return;
  end if;
  select count(*) into running from howdah.task t where t.kind = purge.kind;
  -- Its name goes last, and not while something needs it: a task that still runs, a schedule, a worker that knows it.
  delete from howdah.key y where y.kind = purge.kind and running = 0;
  delete from howdah.kind k
   where k.name = purge.kind and running = 0
     and not exists (select from howdah.schedule s where s.kind = purge.kind and s.retired_at is null)
     and not exists (select from howdah.worker w where w.status = 'live' and purge.kind = any (w.kinds));
end
$$;
comment on function howdah.purge(text, boolean, int) is
  'Forget a kind, a page at a time, until more is false: its live tasks are cancelled (parents are told, children go along), its ended ones and the events of all of them deleted, its name last. Running tasks are left, and keep the name, as do schedules and live workers that know it. Returns what this page did, or with dry_run all that there is. Error HW001 unknown kind.';
