create or replace function howdah.pause(queue text, reason text default null) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  if coalesce(length(pause.queue), 0) not between 1 and 200 then
    raise exception using errcode = 'HW002', message = 'queue must be a name of 1 to 200 characters',
      hint = 'SELECT name FROM howdah.queues lists those in use';
  end if;
  insert into howdah.queue as q (name, paused, paused_at, paused_by, reason)
  values (pause.queue, true, howdah.now(), session_user, pause.reason)
  on conflict (name) do update
     set paused = true, paused_at = coalesce(q.paused_at, excluded.paused_at), paused_by = excluded.paused_by, reason = excluded.reason;
end
$$;
comment on function howdah.pause(text, text) is 'Start no more tasks of this queue. Running ones go on; enqueueing goes on.';
