create or replace function howdah.apply_rules(changed text) returns void
language plpgsql
as $$
#variable_conflict use_column
declare
  concerned text[];
begin
  -- In the order in which close_groups locks them.
  concerned := array(select g.name from (
    select x.name from howdah."group" x
     where not x.own and (x.rule = apply_rules.changed or x.name like howdah.pattern_of(apply_rules.changed))
     order by x.name collate "C" for no key update) g);
  update howdah."group" g
     set rule = r.name, max_running = r.max_running, rate = r.rate, per_second = r.per_second, burst = r.burst, updated_at = howdah.now()
    from unnest(concerned) c (name) cross join lateral howdah.rule_for(c.name) r
   where g.name = c.name
     and (g.rule, g.max_running, g.rate, g.per_second, g.burst) is distinct from (r.name, r.max_running, r.rate, r.per_second, r.burst);
end
$$;
comment on function howdah.apply_rules(text) is 'After a limit with * has changed: give the groups that follow it, or match it, what the rules say now.';
