-- Two claims that met new groups in different orders would wait for each other's rows: so one of them at a time, and the others
-- leave such groups for the next look. Nor does anybody wait for somebody who sets a limit in a transaction that stays open.
create or replace function howdah.found_groups(names text[], patient boolean default false) returns void
language plpgsql
set lock_timeout = '20ms'
as $$
#variable_conflict use_column
declare
  each text;
begin
  if not found_groups.patient and not pg_try_advisory_xact_lock(hashtext('howdah.found_groups')) then
    return;
  end if;
  foreach each in array found_groups.names loop
    begin
      insert into howdah."group" as g (name, rule, max_running, rate, per_second, burst, used_at, updated_at)
      select each, r.name, r.max_running, r.rate, r.per_second, r.burst, howdah.now(), howdah.now()
        from (select) x left join lateral howdah.rule_for(each) r on true
      on conflict (name) do nothing;
    exception when lock_not_available then
      if found_groups.patient then
        raise;
      end if;
    end;
  end loop;
end
$$;
comment on function howdah.found_groups(text[], boolean) is 'Have a row for each of these groups, with the limits that the rules give it. Unless patient: not for those that somebody else is making just now.';
