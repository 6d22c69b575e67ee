-- What enqueue does once the defaults are known. Clients that have the handler's code know them, and call this.
create or replace function howdah.put(
  kind        text,
  payload     jsonb,
  queue       text,
  priority    int,
  delay       interval,
  run_at      timestamptz,
  key         text,
  on_conflict text
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
      message = format('payload must be a JSON object of the arguments by name, not %s', coalesce(jsonb_typeof(put.payload), 'NULL'));
  elsif put.delay < '0' then
    raise exception using errcode = 'HW002', message = format('delay must not be negative: %s', put.delay);
  elsif put.delay is not null and put.run_at is not null then
    raise exception using errcode = 'HW002', message = 'delay and run_at were both given', hint = 'Give one of them';
  elsif not isfinite(coalesce(put.run_at, howdah.now())) then
    raise exception using errcode = 'HW002', message = format('run_at must be a point in time, not %s', put.run_at);
  elsif put.on_conflict is null or put.on_conflict not in ('return', 'raise', 'skip', 'replace') then
    raise exception using errcode = 'HW002',
      message = format('on_conflict must be return, raise, skip or replace, not %L', put.on_conflict);
  elsif coalesce(length(put.kind), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'kind must be a name of 1 to 200 characters';
  elsif coalesce(length(put.queue), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'queue must be a name of 1 to 200 characters';
  elsif length(put.key) not between 1 and 500 then
    raise exception using errcode = 'HW002', message = 'key must be 1 to 500 characters';
  end if;
  due := coalesce(put.run_at, howdah.now() + coalesce(put.delay, '0'));

  if put.key is null then
    insert into howdah.task (kind, queue, priority, run_at, payload)
    values (put.kind, put.queue, put.priority, due, put.payload)
    returning id into new_id;
    return new_id;
  end if;

  -- The holder of the key may end between our look and our insert, or the other way round: look again until one holds.
  loop
    select t.id, t.kind, t.status into live from howdah.task t where t.key = put.key;
    if not found then
      insert into howdah.task (kind, queue, priority, run_at, payload, key)
      values (put.kind, put.queue, put.priority, due, put.payload, put.key)
      on conflict (key) where key is not null do nothing
      returning id into new_id;
      if found then
        return new_id;
      end if;
    elsif put.on_conflict = 'return' then
      return live.id;
    elsif put.on_conflict = 'skip' then
      return null;
    elsif put.on_conflict = 'raise' or live.kind <> put.kind or live.status = 'running' then
      raise exception using errcode = 'HW006', detail = live.id::text,
        message = format('key %L is held by task %s (%s, %s)', put.key, live.id, live.kind, live.status),
        hint = case
          when put.on_conflict = 'raise' then 'Ask for on_conflict = return, skip or replace, or choose another key'
          when live.kind <> put.kind then 'on_conflict = replace takes a task of the same kind only'
          else 'A running task cannot be replaced; try again when it has ended' end;
    else
      update howdah.task t
         set payload = put.payload, run_at = due, error = null, attempt = 0, lost = 0, last_error = null,
             status = 'queued', queue = put.queue,
             priority = put.priority
       where t.id = live.id and t.status <> 'running';
      if found then
        perform howdah.wake(put.queue);
        return live.id;
      end if;
    end if;
  end loop;
end
$$;
comment on function howdah.put(text, jsonb, text, int, interval, timestamptz, text, text) is
  'Put a task in its queue with everything given. For programs that know the kind''s defaults; people call enqueue.';
