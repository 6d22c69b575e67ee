create or replace function howdah.close_group(name text, length interval default '100 years', reason text default null) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  if coalesce(length(close_group.name), 0) not between 1 and 200 or position('*' in close_group.name) > 0 then
    raise exception using errcode = 'HW002', message = 'name must be that of one group, 1 to 200 characters without *', hint = 'SELECT name FROM howdah.groups lists them';
  elsif coalesce(close_group.length, '0') <= '0' then
    raise exception using errcode = 'HW002', message = 'length must be longer than nothing', hint = 'Leave it out for until it is opened';
  end if;
  perform howdah.found_groups(array[close_group.name], true);
  update howdah."group" g
     set closed_until = howdah.now() + close_group.length, closed_reason = close_group.reason, closed_by = session_user
   where g.name = close_group.name;
end
$$;
comment on function howdah.close_group(text, interval, text) is 'Start no more tasks of a group for a time, or until it is opened, in the whole fleet. Running ones go on.';
