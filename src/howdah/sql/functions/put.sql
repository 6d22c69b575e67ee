-- What enqueue does once the defaults are known. Clients that have the handler's code know them, and call this.
create or replace function howdah.put(
  kind        text,
  payload     jsonb,
  queue       text,
  priority    int,
  delay       interval,
  run_at      timestamptz,
  key         text,
  on_conflict text,
  step        text default null,
  source      text default null,
  groups      text[] default null,
  cost        double precision default null,
  start_before  timestamptz default null,
  finish_before timestamptz default null,
  late        text default null,
  unique_for  interval default null,
  start_within  interval default null,
  finish_within interval default null
) returns bigint
language plpgsql
as $$
#variable_conflict use_column
declare
  due      timestamptz;
  new_id   bigint;
  live     record;
begin
  if jsonb_typeof(put.payload) is distinct from 'object' then
    raise exception using errcode = 'HW003',
      message = format('payload must be a JSON object of the arguments by name, not %s', coalesce(jsonb_typeof(put.payload), 'NULL')),
      hint = 'Write it like {"user_id": 42}';
  elsif put.on_conflict is null or put.on_conflict not in ('return', 'raise', 'skip', 'replace', 'merge') then
    raise exception using errcode = 'HW002',
      message = format('on_conflict must be return, raise, skip, replace or merge, not %L', put.on_conflict), hint = 'Leave it out for return';
  elsif coalesce(length(put.kind), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'kind must be a name of 1 to 200 characters', hint = 'It is the name of a handler';
  elsif coalesce(length(put.queue), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'queue must be a name of 1 to 200 characters', hint = 'Leave it out for the queue of the kind';
  elsif length(put.key) not between 1 and 500 then
    raise exception using errcode = 'HW002', message = 'key must be 1 to 500 characters', hint = 'Leave it out for a task without a key';
  end if;
  put.start_before := coalesce(put.start_before, howdah.now() + put.start_within);
  put.finish_before := coalesce(put.finish_before, howdah.now() + put.finish_within);
  put.groups := nullif(put.groups, '{}');
  perform howdah.check_limits(put.groups, put.cost, put.start_before, put.finish_before, put.late);
  due := howdah.due(put.delay, put.run_at);

  if put.key is null then
    insert into howdah.task (kind, queue, priority, run_at, payload, step, source, groups, cost, start_before, finish_before, late)
    values (put.kind, put.queue, put.priority, due, put.payload, put.step, put.source, put.groups, put.cost, put.start_before, put.finish_before, put.late)
    returning id into new_id;
    return new_id;
  end if;

  -- The holder of the key may end between our look and our insert, or the other way round: look again until one holds.
  loop
    select t.id, t.kind, t.status, t.children > 0 or exists (select from howdah.message m where m.task_id = t.id and m.type = 'eof') as has_family
      into live from howdah.task t where t.key = put.key;
    if not found then
      insert into howdah.task (kind, queue, priority, run_at, payload, key, step, source, groups, cost, start_before, finish_before, late)
      values (put.kind, put.queue, put.priority, due, put.payload, put.key, put.step, put.source, put.groups, put.cost, put.start_before, put.finish_before, put.late)
      on conflict (key) where key is not null do nothing
      returning id into new_id;
      if found then
        return new_id;
      end if;
    elsif put.on_conflict = 'return' then
      return live.id;
    elsif put.on_conflict = 'skip' then
      return null;
    elsif put.on_conflict = 'raise' or live.kind <> put.kind or live.status = 'running' or live.has_family then
      raise exception using errcode = 'HW006', detail = live.id::text,
        message = format('key %L is held by task %s (%s, %s)', put.key, live.id, live.kind, live.status),
        hint = case
          when put.on_conflict = 'raise' then 'Ask for on_conflict = return, skip or replace, or choose another key'
          when live.kind <> put.kind then 'on_conflict = replace takes a task of the same kind only'
          when live.status = 'running' then 'A running task cannot be replaced; try again when it has ended'
          else 'It has children, and so cannot be replaced; cancel it, or try again when it has ended' end;
    else
      update howdah.task t
         set payload = put.payload, run_at = due, queue = put.queue, priority = put.priority, step = put.step, status = 'queued',
             groups = put.groups, cost = put.cost, start_before = put.start_before, finish_before = put.finish_before, late = put.late,
             -- Another payload is another piece of work, with an idempotency key of its own.
             step_no = t.step_no + 1, attempt = 0, lost = 0, error = null, last_error = null, progress = null, joining = false
       where t.id = live.id and t.status <> 'running';
      if found then
        perform howdah.wake(put.queue);
        return live.id;
      end if;
    end if;
  end loop;
end
$$;
comment on function howdah.put(text, jsonb, text, int, interval, timestamptz, text, text, text, text, text[], double precision, timestamptz, timestamptz, text, interval, interval, interval) is
  'Put a task in its queue with everything given. For programs that know the kind''s defaults; people call enqueue.';
