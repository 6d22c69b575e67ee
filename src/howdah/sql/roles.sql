-- Least privilege, for those who ask for it: `howdah migrate --roles`. Four roles to grant to your users.
--
-- Runs at the end of every migration, because CREATE OR REPLACE takes SECURITY DEFINER away again and a new function is
-- open to everybody; without --roles it changes nothing in a database whose schema no role of ours may use.
-- Why it is as it is: docs/decisions/0006-roles.md.
do $roles$
declare
  ours    constant text[] := '{howdah_client,howdah_worker,howdah_viewer,howdah_admin}';
  all_of  constant text := 'howdah_client, howdah_worker, howdah_viewer, howdah_admin';
  -- These look at nothing, and run with the rights of the caller: now would no longer be inlined, and check_task, which is asked
  -- about each row that is written, would take longer than the rest of it.
  plain   constant text[] := '{now,check_task}';
  name    text;
  missing text;
begin
  if coalesce(current_setting('howdah.roles', true), '') <> 'on'
     and not exists (select from pg_namespace n, aclexplode(n.nspacl) a join pg_roles r on r.oid = a.grantee
                      where n.nspname = 'howdah' and r.rolname = any (ours)) then
    return;
  end if;

  -- ── the roles, which belong to the whole cluster ──

  foreach name in array ours loop
    continue when exists (select from pg_roles where rolname = name);
    begin
      execute format('create role %I nologin', name);
      execute format('comment on role %I is %L', name, case name
        when 'howdah_client' then 'howdah: enqueue and look, payloads included'
        when 'howdah_worker' then 'howdah: run tasks; and all that a client may'
        when 'howdah_viewer' then 'howdah: look, without payloads, results and error texts'
        else 'howdah: cancel, retry, pause, resume, stop workers; and all that a client may' end);
    exception
      when duplicate_object or unique_violation then
        null;                                        -- the migration of another database was first
      when insufficient_privilege then
        select string_agg(format('CREATE ROLE %I NOLOGIN; ', o), '' order by n) into missing
          from unnest(ours) with ordinality x (o, n) where not exists (select from pg_roles where rolname = o);
        raise exception using errcode = '42501', message = format('user %I may not create role %s', current_user, name),
          hint = format('As a superuser: %sor ALTER ROLE %I CREATEROLE; then migrate again', missing, current_user);
    end;
  end loop;

  -- An entry point of one owner could not call a helper or write a table of another.
  if (select count(distinct x.owner) from (
        select proowner from pg_proc where pronamespace = 'howdah'::regnamespace
        union all
        select relowner from pg_class where relnamespace = 'howdah'::regnamespace and relkind in ('r', 'p', 'v', 'S')) x (owner)) > 1 then
    raise exception using errcode = '42501', message = 'the tables and functions of schema howdah do not all have the same owner',
      hint = 'Give them to one: REASSIGN OWNED, ALTER TABLE … OWNER TO, ALTER FUNCTION … OWNER TO; then migrate again';
  end if;

  -- ── nothing for everybody, and for our roles exactly what follows; what was granted to others stays ──

  execute 'revoke all on schema howdah from public, ' || all_of;
  execute 'revoke all on all routines in schema howdah from public, ' || all_of;
  -- Takes the rights to single columns too. The partitions, which come and go, only if somebody has rights to them.
  for name in
    select c.oid::regclass from pg_class c
     where c.relnamespace = 'howdah'::regnamespace and c.relkind in ('r', 'p', 'v', 'S')
       and (not c.relispartition or c.relacl is not null or exists (select from pg_attribute t where t.attrelid = c.oid and t.attacl is not null))
  loop
    execute format('revoke all on table %s from public, %s', name, all_of);
  end loop;

  -- Which release is here: asked by every program at its start.
  grant usage on schema howdah to howdah_client, howdah_worker, howdah_viewer, howdah_admin;
  grant select on howdah.migration, howdah.installed to howdah_client, howdah_worker, howdah_viewer, howdah_admin;

  -- Enqueue, and send. Many tasks go by COPY, or by INSERT … RETURNING id: into these columns, so only tasks that wait.
  grant execute on function howdah.now, howdah.check_task, howdah.examine_task, howdah.enqueue, howdah.put, howdah.enqueue_many, howdah.put_many, howdah.send
     to howdah_client, howdah_worker, howdah_admin;
  grant insert (id, kind, queue, priority, run_at, payload, step, groups, cost, start_before, finish_before, late), select (id) on howdah.task
     to howdah_client, howdah_worker, howdah_admin;
  execute format('grant usage on sequence %s to howdah_client, howdah_worker, howdah_admin', pg_get_serial_sequence('howdah.task', 'id'));

  -- Look.
  grant select on howdah.key to howdah_client, howdah_worker, howdah_viewer, howdah_admin;
  grant select on howdah.queues, howdah.groups, howdah.workers, howdah.kind to howdah_client, howdah_worker, howdah_viewer, howdah_admin;
  grant select on howdah.tasks, howdah.message, howdah.schedules to howdah_client, howdah_worker, howdah_admin;
  grant execute on function howdah.find, howdah.count_tasks, howdah.inbox, howdah.outcomes, howdah.why, howdah.history, howdah.step_counts,
     howdah.held, howdah.holder, howdah.why_key to howdah_client, howdah_worker, howdah_admin;
  grant execute on function howdah.health to howdah_client, howdah_worker, howdah_viewer, howdah_admin;
  grant execute on function howdah.doctor to howdah_client, howdah_worker, howdah_admin;
  -- Not what people wrote or programs said: payload, result, progress, error, last_error, reason; message, data; body.
  grant select (id, kind, queue, status, step, key, priority, attempt, lost, run_at, created_at, claimed_at, finished_at, worker, epoch, parent, children, inbox_seq, source, tick, groups, cost, start_before, finish_before, late)
     on howdah.tasks to howdah_viewer;
  grant select (name, state, kind, step, cron, every, timezone, next_at, last_tick, last_task, fired, skipped, missed, overlap, jitter,
                starts_at, ends_at, anchor, queue, priority, declared, paused_at, paused_by, retired_at, after, created_at, updated_at, served)
     on howdah.schedules to howdah_viewer;
  grant select (task_id, id, sender, type, sent_at) on howdah.message to howdah_viewer;
  grant select (id, at, task_id, type, kind, step, attempt, epoch, worker, actor) on howdah.event to howdah_viewer;
  grant select on howdah.event to howdah_admin;

  -- Run tasks: the worker protocol, and what a worker does for everybody's good.
  grant execute on function howdah.declare, howdah.register, howdah.pump, howdah.settle_rest, howdah.heartbeat, howdah.report,
     howdah.leave, howdah.inboxes, howdah.reserve_ids, howdah.wake_suspended, howdah.expire, howdah.rescue, howdah.make_partitions, howdah.retain,
     howdah.waiting_queues, howdah.declare_schedules, howdah.due_schedules, howdah.fire, howdah.schedule_failed, howdah.instructions, howdah.stand,
     howdah.declare_limits, howdah.backoff, howdah.tell_health
     to howdah_worker;

  -- Repair. A key that an ended task holds is free again when its row is deleted.
  grant delete on howdah.key to howdah_admin;
  grant execute on function howdah.retry_all, howdah.cancel_all, howdah.edit_all, howdah.drain, howdah.disable, howdah.enable, howdah.purge,
     howdah.export_tasks, howdah.import_tasks, howdah.import_families to howdah_admin;
  grant execute on function howdah.cancel, howdah.edit, howdah.retry, howdah.pause, howdah.resume, howdah.stop_workers, howdah.set_limit, howdah.unset_limit, howdah.close_group, howdah.open_group, howdah.set_queue,
     howdah.schedule, howdah.unschedule, howdah.pause_schedule, howdah.resume_schedule, howdah.trigger to howdah_admin;

  -- ── what somebody was granted, and the triggers that plain INSERT fires, run with the rights of the owner ──

  -- pg_temp is named, and last: left out, it would be searched first, and hold tables of whoever calls. The settings that
  -- a function has already stay. What only these call, the helpers, runs inside them.
  for name in
    select p.oid::regprocedure from pg_proc p
     where p.pronamespace = 'howdah'::regnamespace and p.proname <> all (plain)
       and (p.prorettype = 'trigger'::regtype
            or exists (select from aclexplode(p.proacl) a join pg_roles r on r.oid = a.grantee where r.rolname = any (ours)))
  loop
    execute format('alter function %s security definer set search_path = pg_catalog, pg_temp', name);
  end loop;
end
$roles$;
