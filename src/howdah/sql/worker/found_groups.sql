create or replace function howdah.found_groups(names text[]) returns void
language plpgsql
as $$
#variable_conflict use_column
begin
  insert into howdah."group" (name, rule, max_running, rate, per_second, burst, used_at, updated_at)
  select n, r.name, r.max_running, r.rate, r.per_second, r.burst, howdah.now(), howdah.now()
    from unnest(found_groups.names) n left join lateral howdah.rule_for(n) r on true
   order by n collate "C"
  on conflict (name) do nothing;
end
$$;
comment on function howdah.found_groups(text[]) is 'Have a row for each of these groups, with the limits that the rules give it.';
