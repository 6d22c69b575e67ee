-- What can be said of a schedule without working out its ticks; the workers look closer.
create or replace function howdah.check_schedule(s howdah.schedule) returns void
language plpgsql
as $$
declare
  wrong text;
  tip   text;
begin
  if coalesce(length(s.name), 0) not between 1 and 200 then
    wrong := 'name must be a name of 1 to 200 characters'; tip := 'It is how the schedule is known';
  elsif num_nonnulls(s.cron, s.every) <> 1 then
    wrong := format('%s of cron and every was given', case when s.cron is null then 'neither' else 'both' end); tip := 'Give one of them';
  elsif s.every < '0.1 s' then
    wrong := format('every must be at least 100 milliseconds, not %s', s.every); tip := 'Write it like 10 seconds';
  elsif not isfinite(s.every) or extract(year from s.every) <> 0 or extract(month from s.every) <> 0 then
    wrong := format('every must be of one length, not %s', s.every); tip := 'For each month or year write cron: @monthly, @yearly';
  elsif s.jitter < '0' then
    wrong := format('jitter must not be negative: %s', s.jitter); tip := 'Leave it out for none';
  elsif not isfinite(s.jitter) then
    wrong := 'jitter must have an end'; tip := 'Write it like 10 seconds';
  elsif s.missed is null or s.missed not in ('skip', 'latest', 'all') then
    wrong := format('missed must be skip, latest or all, not %L', s.missed); tip := 'Leave it out for latest';
  elsif s.overlap is null or s.overlap not in ('allow', 'skip', 'queue') then
    wrong := format('overlap must be allow, skip or queue, not %L', s.overlap); tip := 'Leave it out for allow';
  elsif jsonb_typeof(s.payload) is distinct from 'object' then
    wrong := format('payload must be a JSON object of the arguments by name, not %s', coalesce(jsonb_typeof(s.payload), 'NULL')); tip := 'Write it like {"user_id": 42}';
  elsif length(s.queue) not between 1 and 200 then
    wrong := 'queue must be a name of 1 to 200 characters'; tip := 'Leave it out for the queue of the kind';
  elsif not isfinite(s.starts_at) or not isfinite(s.ends_at) then
    wrong := 'starts_at and ends_at must be points in time'; tip := 'Leave them out for a schedule without bounds';
  elsif s.ends_at <= coalesce(s.starts_at, '-infinity') then
    wrong := format('ends_at (%s) is not after starts_at (%s)', s.ends_at, s.starts_at); tip := 'Leave one of them out, or move it';
  elsif s.timezone is null or not exists (select from pg_timezone_names z where z.name = s.timezone) then
    wrong := format('there is no time zone %L', s.timezone); tip := 'Write it like Europe/Riga; SELECT name FROM pg_timezone_names lists them';
  end if;
  if wrong is null and s.cron is not null then
    wrong := howdah.cron_fault(s.cron);
    tip := 'Write five fields, or six with the seconds first: */5 * * * *';
  end if;
  if wrong is not null then
    raise exception using errcode = 'HW002', message = wrong, hint = tip;
  end if;
end
$$;
comment on function howdah.check_schedule(howdah.schedule) is 'Error HW002 for what cannot be meant.';
