create or replace function howdah.meant(filter jsonb) returns jsonb
language plpgsql immutable
as $$
begin
  if jsonb_strip_nulls(meant.filter) = '{}' then
    raise exception using errcode = 'HW002', message = 'no task was named', hint = 'Give a filter, or {"all": true} for all of them';
  end if;
  return meant.filter;
end
$$;
comment on function howdah.meant(jsonb) is 'A filter of what is to be changed. Error HW002 for one that says nothing: all of them must be meant, {"all": true}.';
