-- Many calls in one transaction are one import: parents and senders are found again under their new ids by import_families.
create or replace function howdah.import_tasks(lines jsonb, first int default 1, on_conflict text default 'raise', keep_ids boolean default false)
returns table (imported bigint, skipped bigint)
language plpgsql
as $$
#variable_conflict use_column
declare
  batch  bigint := pg_current_xact_id()::text::bigint;
  clock  timestamptz := howdah.now();
  line   record;
  said   text;
  tip    text;
  place  text;
  number int := 0;
begin
  if import_tasks.on_conflict is null or import_tasks.on_conflict not in ('raise', 'skip') then
    raise exception using errcode = 'HW002', message = format('on_conflict must be raise or skip, not %L', import_tasks.on_conflict), hint = 'Leave it out for raise';
  elsif jsonb_typeof(import_tasks.lines) is distinct from 'array' then
    raise exception using errcode = 'HW003', message = 'lines must be a JSON array of tasks', hint = 'They are what howdah.export_tasks returns';
  end if;
  begin
    return query select * from howdah.import_lines(import_tasks.lines, import_tasks.on_conflict, import_tasks.keep_ids, batch, clock);
    return;
  exception when data_exception or integrity_constraint_violation or sqlstate 'HW001' or sqlstate 'HW002' or sqlstate 'HW003' or sqlstate 'HW006' then
    null;                                             -- which of them was it?
  end;
  for line in select e.value from jsonb_array_elements(import_tasks.lines) e loop
    begin
      perform howdah.import_lines(jsonb_build_array(line.value), import_tasks.on_conflict, import_tasks.keep_ids, batch, clock);
    exception
      when sqlstate 'HW006' then
        get stacked diagnostics said = message_text;
        raise exception using errcode = 'HW006', message = format('line %s: %s', import_tasks.first + number, said),
          hint = 'on_conflict = skip leaves such tasks out';
      when sqlstate 'HW001' or sqlstate 'HW002' or sqlstate 'HW003' then
        get stacked diagnostics said = message_text, tip = pg_exception_hint;
        raise exception using errcode = sqlstate, message = format('line %s: %s', import_tasks.first + number, said), hint = tip;
      when data_exception or integrity_constraint_violation then
        get stacked diagnostics said = message_text, place = constraint_name;
        raise exception using errcode = 'HW003', message = format('line %s: %s', import_tasks.first + number, said),
          hint = coalesce('The rule that it breaks: ' || nullif(place, ''), 'Write it as howdah export does');
    end;
    number := number + 1;
  end loop;
  raise exception using errcode = 'HW003', message = format('lines %s to %s hold the same task twice', import_tasks.first, import_tasks.first + number - 1),
    hint = 'Each id and each key once';
end
$$;
comment on function howdah.import_tasks(jsonb, int, text, boolean) is
  'Write tasks that howdah.export_tasks read, as a JSON array; first is the number of its first line, for errors; a null is an empty line. Parked ones come back parked, running ones queued with their attempt unspent, all under new ids unless keep_ids. A key, a tick or an id that is taken: raise, or skip the task. End with howdah.import_families in the same transaction. Errors: HW002, HW003 a line that is none, HW006 taken, HW010 the queue takes no more tasks.';
