create or replace function howdah.check_limits(
  cost          double precision,
  start_before  timestamptz,
  finish_before timestamptz,
  late          text
) returns void
language plpgsql
as $$
declare
  wrong text;
  tip   text;
begin
  if num_nulls(cost, start_before, finish_before, late) = 4 then
    return;
  elsif not (cost >= 0 and cost < 'infinity') then
    wrong := format('cost must be a number from 0, not %s', cost); tip := 'Leave it out for 1';
  elsif not isfinite(start_before) or not isfinite(finish_before) then
    wrong := 'start_before and finish_before must be points in time'; tip := 'Leave them out for a task without a deadline';
  elsif late not in ('drop', 'park', 'run') then
    wrong := format('late must be drop, park or run, not %L', late); tip := 'Leave it out for what the kind says';
  elsif (late is null) <> (num_nonnulls(start_before, finish_before) = 0) then
    wrong := case when late is null then 'there is a deadline, and late is missing' else 'late was given, and no deadline' end;
    tip := 'Give start_before or finish_before, and with them drop, park or run';
  else
    return;
  end if;
  raise exception using errcode = 'HW002', message = wrong, hint = tip;
end
$$;
comment on function howdah.check_limits(double precision, timestamptz, timestamptz, text) is 'Error HW002 for a cost or deadlines that cannot be meant.';
