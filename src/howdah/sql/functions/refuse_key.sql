create or replace function howdah.refuse_key(key text, holder bigint, kind text, status text, on_conflict text, impeded text) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  taken text := (select howdah.until_words(k.until) from howdah.key k
                  where k.key = refuse_key.key and k.task_id = refuse_key.holder and k.until > howdah.now());
  ended text := (select a.status from howdah.archive a where a.id = refuse_key.holder limit 1);
begin
  raise exception using errcode = 'HW006', detail = refuse_key.holder::text,
    message = case when refuse_key.status is not null
      then format('key %L is held by task %s (%s, %s)%s', refuse_key.key, refuse_key.holder, refuse_key.kind, refuse_key.status, ', and is taken ' || taken)
      else format('key %L is taken %s by task %s (%s), which has ended%s', refuse_key.key, coalesce(taken, 'until just now'), refuse_key.holder, refuse_key.kind, ': ' || ended) end,
    hint = case refuse_key.impeded
      when 'kind' then format('on_conflict = %s takes a task of the same kind only', refuse_key.on_conflict)
      when 'running' then format('A running task cannot be %sd; try again when it has ended', refuse_key.on_conflict)
      when 'family' then format('It has children, and so cannot be %sd; cancel it, or try again when it has ended', refuse_key.on_conflict)
      when 'step' then 'It stands at another step, whose fields are others; on_conflict = replace begins it anew'
      when 'ended' then case refuse_key.on_conflict
        when 'raise' then 'Ask for on_conflict = return, which gives that task, or skip; or choose another key'
        else format('What has ended cannot be %sd; choose another key, or ask for on_conflict = return or skip', refuse_key.on_conflict) end
      else 'Ask for on_conflict = return, skip, replace or merge, or choose another key' end;
end
$$;
comment on function howdah.refuse_key(text, bigint, text, text, text, text) is
  'Error HW006: this task holds the key; its id is the detail. status is NULL when it has ended; impeded: asked, kind, running, family, step or ended.';
