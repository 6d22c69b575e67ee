create or replace function howdah.send(id bigint, message jsonb) returns bigint
language plpgsql
as $$
#variable_conflict use_column
declare
  ended  text;
  new_id bigint;
begin
  if send.message is null then
    raise exception using errcode = 'HW003', message = 'message is NULL', hint = 'Send JSON: ''{"n": 1}'', or the JSON null: ''null''';
  end if;
  -- The row first: it says whether anybody will read the message, and who sends to one task at a time goes in order.
  perform from howdah.task t where t.id = send.id for no key update;
  if not found then
    select a.status into ended from howdah.archive a where a.id = send.id;
    raise exception using errcode = 'HW004',
      message = case when ended is null then format('there is no task %s', send.id) else format('task %s has already ended: %s', send.id, ended) end,
      hint = 'Nobody would read the message';
  end if;
  perform howdah.deliver(jsonb_build_array(jsonb_build_object('to', send.id, 'body', send.message)));
  select max(m.id) into new_id from howdah.message m where m.task_id = send.id;
  return new_id;
end
$$;
comment on function howdah.send(bigint, jsonb) is
  'Put a message into the inbox of a task, in the caller''s transaction, and wake it if it waits for one; returns the id of the message. Errors: HW003 message is NULL, HW004 no such task, or it has ended, HW005 its kind takes no messages. The task''s row stays locked until the transaction ends.';
