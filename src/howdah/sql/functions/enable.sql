create or replace function howdah.enable(kind text) returns boolean
language plpgsql
as $$
#variable_conflict use_column
begin
  perform howdah.known_kind(enable.kind);
  update howdah.kind k set disabled_at = null, disabled_by = null, disabled_reason = null where k.name = enable.kind and k.disabled_at is not null;
  if found then
    perform howdah.wake(q) from howdah.waiting_queues() q;
    return true;
  end if;
  return false;
end
$$;
comment on function howdah.enable(text) is 'Undo disable. False if the kind was not disabled. Error HW001 unknown kind.';
