-- What enqueue does once the defaults are known. Clients that have the handler's code know them, and call this.
create or replace function howdah.put(
  kind        text,
  payload     jsonb,
  queue       text,
  priority    int,
  delay       interval default null,
  run_at      timestamptz default null,
  key         text default null,
  on_conflict text default 'return',
  step        text default null,
  source      text default null,
  groups      text[] default null,
  cost        double precision default null,
  start_before  timestamptz default null,
  finish_before timestamptz default null,
  late        text default null,
  unique_for  interval default null,
  start_within  interval default null,
  finish_within interval default null,
  timed       boolean default true
) returns bigint
language plpgsql
as $$
#variable_conflict use_column
declare
  due      timestamptz;
  new_id   bigint;
  live     record;
  ended    record;
  impeded  text;
begin
  if jsonb_typeof(put.payload) is distinct from 'object' then
    raise exception using errcode = 'HW003',
      message = format('payload must be a JSON object of the arguments by name, not %s', coalesce(jsonb_typeof(put.payload), 'NULL')),
      hint = 'Write it like {"user_id": 42}';
  elsif put.on_conflict is null or put.on_conflict not in ('return', 'raise', 'skip', 'replace', 'merge') then
    raise exception using errcode = 'HW002',
      message = format('on_conflict must be return, raise, skip, replace or merge, not %L', put.on_conflict), hint = 'Leave it out for what the kind says';
  elsif coalesce(length(put.kind), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'kind must be a name of 1 to 200 characters', hint = 'It is the name of a handler';
  elsif coalesce(length(put.queue), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'queue must be a name of 1 to 200 characters', hint = 'Leave it out for the queue of the kind';
  elsif length(put.key) not between 1 and 500 then
    raise exception using errcode = 'HW002', message = 'key must be 1 to 500 characters', hint = 'Leave it out for a task without a key';
  elsif put.unique_for <= '0' then
    raise exception using errcode = 'HW002', message = 'unique_for must be longer than nothing',
      hint = 'Leave it out for as long as the task is live; 1000 years is for good';
  end if;
  -- Most tasks have nothing of all this, and a call costs a tenth of the rest.
  if num_nonnulls(put.groups, put.cost, put.start_before, put.finish_before, put.start_within, put.finish_within, put.late) > 0 then
    put.start_before := coalesce(put.start_before, howdah.now() + put.start_within);
    put.finish_before := coalesce(put.finish_before, howdah.now() + put.finish_within);
    put.groups := nullif(put.groups, '{}');
    perform howdah.check_limits(put.cost, put.start_before, put.finish_before, put.late);
  end if;
  due := case when num_nonnulls(put.delay, put.run_at) = 0 then howdah.now() else howdah.due(put.delay, put.run_at) end;

  if put.key is null then
    insert into howdah.task (kind, queue, priority, run_at, payload, step, source, groups, cost, start_before, finish_before, late)
    values (put.kind, put.queue, put.priority, due, put.payload, put.step, put.source, put.groups, put.cost, put.start_before, put.finish_before, put.late)
    returning id into new_id;
    return new_id;
  end if;

  -- The holder of the key may end between our look and our insert, or the other way round: look again until one holds.
  loop
    select t.id, t.kind, t.status, t.step, t.queue,
           -- Deadlines that have passed, or parked it, are not those of what is added now.
           put.on_conflict = 'merge' and t.status <> 'failed' and coalesce(least(t.start_before, t.finish_before) > howdah.now(), true) as in_time,
           t.children > 0 or exists (select from howdah.message m where m.task_id = t.id and m.type = 'eof') as has_family
      into live from howdah.task t where t.key = put.key;
    if not found then
      select k.task_id, k.kind, exists (select from howdah.task t where t.key = put.key) as is_live
        into ended from howdah.key k where k.key = put.key and k.until > howdah.now();
      -- It may have been written since we looked.
      continue when ended.is_live;
      if not found then
        -- Whoever has the live key writes howdah.key, and nobody else: always in this order.
        insert into howdah.task (kind, queue, priority, run_at, payload, key, step, source, groups, cost, start_before, finish_before, late)
        values (put.kind, put.queue, put.priority, due, put.payload, put.key, put.step, put.source, put.groups, put.cost, put.start_before, put.finish_before, put.late)
        on conflict (key) where key is not null do nothing
        returning id into new_id;
        continue when not found;
        if put.unique_for is not null then
          perform howdah.reserve_keys(array[new_id], put.unique_for);
        end if;
        -- Another may have come, reserved it and ended since we looked.
        if exists (select from howdah.key k where k.key = put.key and k.task_id <> new_id and k.until > howdah.now()) then
          delete from howdah.task t where t.id = new_id;
          continue;
        end if;
        return new_id;
      elsif put.on_conflict = 'return' then
        return ended.task_id;
      elsif put.on_conflict = 'skip' then
        return null;
      end if;
      perform howdah.refuse_key(put.key, ended.task_id, ended.kind, null, put.on_conflict, 'ended');
    elsif put.on_conflict = 'return' then
      return live.id;
    elsif put.on_conflict = 'skip' then
      return null;
    else
      impeded := case when put.on_conflict = 'raise' then 'asked'
                      when live.kind <> put.kind then 'kind'
                      when live.status = 'running' then 'running'
                      when live.has_family then 'family'
                      when put.on_conflict = 'merge' and live.step is distinct from put.step then 'step' end;
      if impeded is not null then
        perform howdah.refuse_key(put.key, live.id, live.kind, live.status, put.on_conflict, impeded);
      end if;
      if put.on_conflict = 'replace' and put.queue <> live.queue then
        perform howdah.check_open(put.queue);
      end if;
      update howdah.task t
         set payload = case put.on_conflict when 'merge' then howdah.merged(t.payload, put.payload) else put.payload end,
             -- What is merged waits as long as it did, unless another time was asked for.
             run_at = case when put.on_conflict = 'merge' and not put.timed and t.status = 'queued' then t.run_at else due end,
             queue = case put.on_conflict when 'merge' then t.queue else put.queue end,
             priority = case put.on_conflict when 'merge' then greatest(t.priority, put.priority) else put.priority end,
             cost = case put.on_conflict when 'merge' then t.cost else put.cost end,
             start_before = case when live.in_time then t.start_before else put.start_before end,
             finish_before = case when live.in_time then t.finish_before else put.finish_before end,
             late = case when live.in_time then t.late else put.late end,
             groups = case put.on_conflict when 'merge' then coalesce(put.groups, t.groups) else put.groups end,
             step = put.step, status = 'queued',
             -- Another payload is another piece of work, with an idempotency key of its own.
             step_no = t.step_no + 1, attempt = 0, lost = 0, error = null, last_error = null, progress = null, joining = false
       where t.id = live.id and t.status <> 'running' and (put.on_conflict = 'replace' or t.step is not distinct from put.step);
      if found then
        if put.unique_for is not null then
          perform howdah.reserve_keys(array[live.id], put.unique_for);
        end if;
        perform howdah.wake(case put.on_conflict when 'merge' then live.queue else put.queue end);
        return live.id;
      end if;
    end if;
  end loop;
end
$$;
comment on function howdah.put(text, jsonb, text, int, interval, timestamptz, text, text, text, text, text[], double precision, timestamptz, timestamptz, text, interval, interval, interval, boolean) is
  'Put a task in its queue with everything given. For programs that know the kind''s defaults; people call enqueue. timed: delay or run_at was asked for, and is not what the kind says; only merge wants to know.';
