create or replace function howdah.wake_all() returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  if exists (select from howdah.worker w where w.asleep and w.status = 'live') then
    perform pg_notify('howdah', 'wake');
  end if;
end
$$;
comment on function howdah.wake_all() is 'Tell all sleeping workers to look: a limit that several queues may have has changed.';
