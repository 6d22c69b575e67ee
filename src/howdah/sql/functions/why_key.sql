create or replace function howdah.why_key(key text) returns table (code text, reason text, advice text)
language plpgsql stable
as $$
#variable_conflict use_column
declare
  h record;
begin
  select * into h from howdah.held(why_key.key);
  if not found then
    return query select 'key free', format('Key %L is free: no task holds it', why_key.key), 'What is enqueued under it is written';
  elsif h.status in ('queued', 'running', 'suspended', 'failed') then
    return query select 'key', format('Key %L is held by task %s (%s, %s) since %s%s', why_key.key, h.task_id, h.kind, h.status, date_trunc('second', h.since),
        case when h.until is null then ', as long as that is live' else format('; it stays taken %s, also when that has ended', howdah.until_words(h.until)) end),
      format('What else is enqueued under it is not written: wait for its end (howdah watch %s), cancel it (howdah cancel %s), or choose another key', h.task_id, h.task_id);
    return query select * from howdah.why(h.task_id);
  else
    return query select 'key', format('Key %L is taken %s by task %s (%s), which has ended%s', why_key.key, howdah.until_words(h.until), h.task_id, h.kind, ': ' || nullif(h.status, 'ended')),
      format('Choose another key, or free this one: DELETE FROM howdah.key WHERE key = %L', why_key.key);
  end if;
end
$$;
comment on function howdah.why_key(text) is
  'Why a task is not written under this key: who holds it, since when and until when; and why that task is not running. One row per reason.';
