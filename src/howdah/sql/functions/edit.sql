create or replace function howdah.edit(id bigint, payload jsonb default null, step text default null) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  live    howdah.task;
  rules   howdah.kind;
  wrong   text;
begin
  if edit.payload is null and edit.step is null then
    raise exception using errcode = 'HW002', message = 'neither payload nor step was given', hint = 'Give what is to be changed';
  end if;
  select * into live from howdah.task t where t.id = edit.id for no key update;
  if not found then
    if exists (select from howdah.archive a where a.id = edit.id) then
      raise exception using errcode = 'HW005', message = format('task %s has already ended', edit.id), hint = 'Enqueue another instead';
    end if;
    raise exception using errcode = 'HW004', message = format('there is no task %s', edit.id),
      hint = 'It never existed, was rolled back, or its retention is over';
  elsif live.status = 'running' then
    raise exception using errcode = 'HW005', message = format('task %s is running', edit.id), hint = 'Cancel it first, or wait';
  elsif edit.payload is not null and jsonb_typeof(edit.payload) <> 'object' then
    raise exception using errcode = 'HW003', message = format('payload must be a JSON object, not %s', jsonb_typeof(edit.payload)),
      hint = 'Write it like {"user_id": 42}';
  end if;
  rules := howdah.known_step(live.kind, coalesce(edit.step, live.step));
  -- As far as JSON Schema's names go; types are for the handler's own code to check.
  if rules.signature ? 'properties' then
    select string_agg(x.what, '; ') into wrong from (
      select 'missing: ' || string_agg(r, ', ') as what from jsonb_array_elements_text(rules.signature -> 'required') r
       where not coalesce(edit.payload, live.payload) ? r
      union all
      select 'unexpected: ' || string_agg(k, ', ') from jsonb_object_keys(coalesce(edit.payload, live.payload)) k
       where not rules.signature -> 'properties' ? k and rules.signature -> 'additionalProperties' = 'false') x;
    if wrong is not null then
      raise exception using errcode = 'HW003',
        message = format('the payload does not fit %s: %s', concat_ws('.', live.kind, coalesce(edit.step, live.step)), wrong),
        hint = format('Its fields are: %s', (select string_agg(k, ', ') from jsonb_object_keys(rules.signature -> 'properties') k));
    end if;
  end if;
  update howdah.task t
     set payload = coalesce(edit.payload, t.payload), step = coalesce(edit.step, t.step),
         -- As when it moves there by itself: what was enqueued elsewhere stays there, unless the step has a queue of its own.
         queue = case when edit.step is null or edit.step = t.step then t.queue
                      when t.queue = (howdah.rules(t.kind, t.step)).queue
                        or exists (select from howdah.kind k where k.name = t.kind and k.steps -> edit.step ? 'queue') then rules.queue
                      else t.queue end,
         -- Another payload is another piece of work, with an idempotency key of its own.
         step_no = t.step_no + 1,
         attempt = case when t.status = 'failed' then t.attempt else 0 end, lost = case when t.status = 'failed' then t.lost else 0 end
   where t.id = edit.id;
  insert into howdah.event (at, task_id, type, kind, step, attempt, epoch, actor, data)
  values (howdah.now(), live.id, 'edit', live.kind, coalesce(edit.step, live.step), live.attempt, live.epoch, session_user,
          jsonb_build_object('before', jsonb_build_object('step', live.step, 'payload', live.payload),
                             'after', jsonb_build_object('step', coalesce(edit.step, live.step), 'payload', coalesce(edit.payload, live.payload))));
end
$$;
comment on function howdah.edit(bigint, jsonb, text) is
  'Change the payload or the step of a task that does not run, and keep its status; what was there before is in its history. The names of the fields are checked. Errors: HW002 unknown step, HW003 payload, HW004 no such task, HW005 running or already ended.';
