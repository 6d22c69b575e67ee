-- Whoever writes them, COPY and UPDATE by hand too: sorted, each once, and none that no group can be called. Tasks with the same
-- groups form a lane, and a claim that met an impossible one would fail for the whole queue.
create or replace function howdah.task_groups() returns trigger
language plpgsql
as $$
begin
  if cardinality(new.groups) > 20 then
    raise exception using errcode = 'HW002', message = format('groups must be 1 to 20 names, not %s', cardinality(new.groups)),
      hint = 'Leave it out for the groups of the kind';
  elsif array_position(new.groups, null) is not null
     or exists (select from unnest(new.groups) g where length(g) not between 1 and 200 or position('*' in g) > 0) then
    raise exception using errcode = 'HW002', message = 'groups must be names of 1 to 200 characters, without *',
      hint = 'Leave it out for the groups of the kind';
  elsif cardinality(new.groups) <> 1 then
    new.groups := nullif(array(select g from (select distinct x as g from unnest(new.groups) x) y order by g collate "C"), '{}');
  end if;
  return new;
end
$$;
comment on function howdah.task_groups() is 'Trigger: the groups of a task are sorted, each once. Error HW002 for names that no group can have.';
create or replace trigger task_groups before insert or update of groups on howdah.task
  for each row when (new.groups is not null)
  execute function howdah.task_groups();
