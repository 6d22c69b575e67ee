-- The longest pattern is the most specific.
create or replace function howdah.rule_for(name text) returns howdah."group"
language plpgsql stable
set jit = off set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  rule howdah."group";
begin
  select g.* into rule from howdah."group" g
   where g.own and position('*' in g.name) > 0 and rule_for.name like howdah.pattern_of(g.name)
   order by length(g.name) desc, g.name limit 1;
  return rule;
end
$$;
comment on function howdah.rule_for(text) is 'The limit with * in its name that holds for a group without one of its own; NULLs: none.';
