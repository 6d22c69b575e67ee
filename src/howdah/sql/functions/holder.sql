create or replace function howdah.holder(key text, missing_ok boolean default false) returns bigint
language plpgsql stable
as $$
declare
  found_id bigint := (select h.task_id from howdah.held(holder.key) h);
begin
  if found_id is null and not holder.missing_ok then
    raise exception using errcode = 'HW004', message = format('no task holds key %L', holder.key),
      hint = 'It is free: what is enqueued under it is written. Ended tasks: SELECT * FROM howdah.find(key => …)';
  end if;
  return found_id;
end
$$;
comment on function howdah.holder(text, boolean) is
  'The id of the task that holds a key, live or ended, for whatever takes an id: SELECT howdah.cancel(howdah.holder(''welcome:42'')). Error HW004 if the key is free, or NULL with missing_ok.';
