create or replace function howdah.unset_limit(name text) returns boolean
language plpgsql
as $$
#variable_conflict use_column
declare
  known boolean;
begin
  if position('*' in unset_limit.name) > 0 then
    delete from howdah."group" g where g.name = unset_limit.name and g.own;
    known := found;
    perform howdah.apply_rules(unset_limit.name);
  else
    update howdah."group" g
       set own = false, declared = null, rule = r.name, max_running = r.max_running, rate = r.rate, per_second = r.per_second, burst = r.burst, updated_at = howdah.now()
      from howdah.rule_for(unset_limit.name) r
     where g.name = unset_limit.name and g.own;
    known := found;
  end if;
  if known then
    perform howdah.wake_all();
  end if;
  return known;
end
$$;
comment on function howdah.unset_limit(text) is 'Take the limits of a group, or a rule with *, away. False if there were none of this name. One that code declares comes back when a worker with that code starts.';
