create or replace function howdah.due_schedules(out due jsonb, out now timestamptz, out next_in double precision, out waiting boolean, out woken int)
language plpgsql
as $$
#variable_conflict use_column
declare
  line record;
begin
  now := howdah.now();
  select * into line from howdah.next_in_line();
  waiting := line.waiting;
  woken := line.woken;
  select jsonb_agg(jsonb_build_object('name', s.name, 'cron', s.cron, 'every', extract(epoch from s.every), 'timezone', s.timezone,
                                      'starts_at', s.starts_at, 'ends_at', s.ends_at, 'anchor', s.anchor, 'missed', s.missed,
                                      'after', s.after, 'next_at', s.next_at, 'updated_at', s.updated_at) order by s.next_at)
           filter (where s.next_at is null or s.next_at <= due_schedules.now),
         extract(epoch from min(s.next_at) filter (where s.next_at > due_schedules.now) - due_schedules.now)
    into due, next_in
    from howdah.schedule s
   where s.paused_at is null and s.retired_at is null and not s.over;
end
$$;
comment on function howdah.due_schedules() is
  'The schedules that have a tick to fire, or whose next one is not worked out yet; the time it is; seconds until the next tick of another; whether tasks stand in line, and how many of those were woken just now.';
