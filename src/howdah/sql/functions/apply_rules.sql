create or replace function howdah.apply_rules(changed text) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  update howdah."group" g
     set rule = r.name, max_running = r.max_running, rate = r.rate, per_second = r.per_second, burst = r.burst, updated_at = howdah.now()
    from howdah."group" o cross join lateral howdah.rule_for(o.name) r
   where g.name = o.name and not o.own
     and (g.rule, g.max_running, g.rate, g.per_second, g.burst) is distinct from (r.name, r.max_running, r.rate, r.per_second, r.burst);
end
$$;
comment on function howdah.apply_rules(text) is 'After a rule has changed: give the groups without a limit of their own what the rules say now.';
