create or replace function howdah.put_instruction(
  source   text,
  kind     text,
  payload  jsonb,
  queue    text,
  priority int,
  delay    interval,
  key      text,
  step     text
) returns bigint
language plpgsql
as $$
#variable_conflict use_column
declare
  new_id bigint;
begin
  insert into howdah.task (kind, step, payload, queue, priority, run_at, key, source)
  values (put_instruction.kind, put_instruction.step, put_instruction.payload, put_instruction.queue, put_instruction.priority,
          howdah.due(put_instruction.delay, null), put_instruction.key, put_instruction.source)
  on conflict (key) where key is not null do nothing
  returning id into new_id;
  return new_id;
end
$$;
comment on function howdah.put_instruction(text, text, jsonb, text, int, interval, text, text) is
  'The task of one instruction of a poller that runs in each worker; NULL if its key is held.';
