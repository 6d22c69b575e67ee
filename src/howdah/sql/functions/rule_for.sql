-- The longest pattern is the most specific.
create or replace function howdah.rule_for(name text) returns howdah."group"
language sql stable
as $$
  select g.* from howdah."group" g
   where g.own and position('*' in g.name) > 0
     and rule_for.name like replace(regexp_replace(g.name, '([\\%_])', '\\\1', 'g'), '*', '%')
   order by length(g.name) desc, g.name limit 1
$$;
comment on function howdah.rule_for(text) is 'The limit with * in its name that holds for a group without one of its own; NULLs: none.';
