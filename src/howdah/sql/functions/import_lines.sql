create or replace function howdah.import_lines(lines jsonb, on_conflict text, keep_ids boolean, batch bigint, clock timestamptz)
returns table (imported bigint, skipped bigint)
language plpgsql
-- The joins are among the CTEs: as loops they would be quadratic in the page. What is off counts as dear, and what is dear is compiled.
set enable_nestloop = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  written bigint[];
  wanted  bigint;
  taken   text;
begin
  with given as materialized (
    select t.*, x.value -> 'inbox' as inbox, x.n
      from jsonb_array_elements(import_lines.lines) with ordinality x (value, n)
      cross join lateral jsonb_populate_record(null::howdah.task, x.value - 'inbox') t
     where x.value <> 'null'
  ), meant as materialized (
    select g.*, case when import_lines.keep_ids then g.id else nextval(pg_get_serial_sequence('howdah.task', 'id')) end as new_id from given g order by g.n
  ), put as (
    insert into howdah.task (id, kind, queue, status, priority, run_at, step, step_no, payload, key, attempt, lost, epoch, reason, error, last_error,
                             created_at, parent, joining, told, inbox_seq, source, tick, groups, cost, start_before, finish_before, late)
    overriding system value
    select m.new_id, m.kind, m.queue, case m.status when 'running' then 'queued' else coalesce(m.status, 'queued') end,
           m.priority, case when m.status = 'running' and not isfinite(m.run_at) then import_lines.clock else m.run_at end,
           m.step, coalesce(m.step_no, 0), coalesce(m.payload, '{}'), m.key,
           greatest(coalesce(m.attempt, 0) - case m.status when 'running' then 1 else 0 end, 0), coalesce(m.lost, 0), coalesce(m.epoch, 0), m.reason, m.error, m.last_error,
           coalesce(m.created_at, import_lines.clock), m.parent, coalesce(m.joining, false), coalesce(m.told, false), coalesce(jsonb_array_length(m.inbox), 0), m.source, m.tick, m.groups, m.cost,
           m.start_before, m.finish_before, m.late
      from meant m
     where not (import_lines.keep_ids and exists (select from howdah.archive a where a.id = m.id))
     order by m.n
    on conflict do nothing
    returning id
  ), sent as (
    insert into howdah.message (task_id, sender, type, body, sent_at)
    select m.new_id, (i ->> 'sender')::bigint, coalesce(i ->> 'type', 'message'), coalesce(i -> 'body', 'null'), coalesce((i ->> 'sent_at')::timestamptz, import_lines.clock)
      from meant m join put p on p.id = m.new_id cross join lateral jsonb_array_elements(m.inbox) with ordinality j (i, o) order by m.n, j.o
  ), remembered as (
    insert into howdah.event (at, task_id, type, kind, step, attempt, actor, data)
    select import_lines.clock, m.new_id, 'import', m.kind, m.step, m.attempt, session_user, jsonb_strip_nulls(jsonb_build_object('id', m.id))
      from meant m join put p on p.id = m.new_id
  ), noted as (
    insert into howdah.imported (batch, old_id, new_id)
    select import_lines.batch, coalesce(m.id, -m.new_id), m.new_id from meant m join put p on p.id = m.new_id
  )
  select array_agg(p.id), (select count(*) from meant), (select string_agg(case when import_lines.keep_ids and exists (select from howdah.tasks o where o.id = m.id) then format('id %s', m.id) when m.key is not null then format('key %L', m.key) when m.tick is not null then format('tick %s of %s', m.tick, m.source) else format('id %s', m.id) end, ', ') from meant m where m.new_id not in (select id from put))
    into written, wanted, taken from put p;
  imported := coalesce(cardinality(written), 0);
  skipped := wanted - imported;
  if skipped > 0 and import_lines.on_conflict = 'raise' then
    raise exception using errcode = 'HW006', message = format('%s is taken', left(taken, 200)), hint = 'on_conflict = skip leaves such tasks out';
  end if;
  return next;
end
$$;
comment on function howdah.import_lines(jsonb, text, boolean, bigint, timestamptz) is 'The lines of one call of howdah.import_tasks, all of them or none.';
