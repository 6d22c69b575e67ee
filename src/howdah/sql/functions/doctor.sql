create or replace function howdah.doctor(patience interval default '5 minutes')
returns table ("check" text, status text, found text, fix text)
language plpgsql
as $$
#variable_conflict use_column
declare
  -- Who asks, also where this function runs with the rights of its owner.
  caller text := coalesce(nullif(current_setting('role'), 'none'), session_user);
begin
  if doctor.patience is null or doctor.patience < '0' then
    raise exception using errcode = 'HW002', message = 'patience must be a length of time, from 0',
      hint = 'Leave it out for 5 minutes: SELECT * FROM howdah.doctor()';
  end if;
  return query select * from howdah.examine_settings(caller);
  return query select * from howdah.examine_rights(caller);
  return query select * from howdah.examine_schema();
  return query select * from howdah.examine_partitions();
  return query select * from howdah.examine_horizon(caller, doctor.patience);
  return query select * from howdah.examine_bloat();
  return query select * from howdah.examine_workers();
  return query select * from howdah.examine_orphans(doctor.patience);
end
$$;
comment on function howdah.doctor(interval) is
  'What hurts howdah in this database, each with the command that mends it: settings, rights, schema, partitions, old transactions (older than patience), bloat, workers, orphans. status is ok, warn or fail. It changes nothing.';
