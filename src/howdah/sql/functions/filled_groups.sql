create or replace function howdah.filled_groups(templates text[], payload jsonb) returns text[]
language plpgsql immutable
as $$
begin
  if filled_groups.templates is null then
    return null;
  end if;
  return nullif(array(select distinct howdah.filled(t, filled_groups.payload) collate "C" as name from unnest(filled_groups.templates) t order by name), '{}');
end
$$;
comment on function howdah.filled_groups(text[], jsonb) is 'The groups of a task: the templates of its kind with the fields of its payload, sorted; NULL: none.';
