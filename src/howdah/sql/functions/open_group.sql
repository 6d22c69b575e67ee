create or replace function howdah.open_group(name text) returns boolean
language plpgsql
as $$
#variable_conflict use_column
begin
  update howdah."group" g set closed_until = null, closed_reason = null, closed_by = null
   where g.name = open_group.name and g.closed_until > howdah.now();
  if not found then
    return false;
  end if;
  perform howdah.wake_all();
  return true;
end
$$;
comment on function howdah.open_group(text) is 'Undo close_group, or what a handler''s RateLimited closed. False if it was not closed.';
