create or replace function howdah.health_of_schedules(clock timestamptz)
returns table (scope text, name text, colour text, code text, reason text, advice text, figures jsonb)
language plpgsql stable
as $$
#variable_conflict use_column
begin
  return query
  select 'schedule', s.name, 'red', 'failing', 'It cannot fire', format('See why: howdah schedules %s', s.name),
         jsonb_build_object('fired', s.fired, 'last_tick', s.last_tick)
    from howdah.schedule s
   where s.error is not null and s.retired_at is null and s.paused_at is null and not s.over;

  return query
  select 'schedule', s.name, howdah.colour_of(l.late, 60, 600), 'behind',
         format('Its tick of %s is late by %s', to_char(l.tick at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), howdah.in_words(l.late)),
         'Every live worker fires it: howdah workers. If there is one, its log says what is wrong',
         jsonb_build_object('late', round(l.late::numeric, 3), 'tick', l.tick, 'warn', 60, 'alarm', 600)
    from howdah.schedule s
    cross join lateral coalesce(s.next_at, s.updated_at) tick
    cross join lateral (select tick, extract(epoch from clock - tick)::float8 as late) l
   where s.error is null and s.retired_at is null and s.paused_at is null and not s.over and l.late >= 60;

  return query
  select 'schedule', s.name, 'green', 'paused', format('It is paused since %s by %s%s',
           to_char(s.paused_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), s.paused_by, coalesce(': ' || s.reason, '')),
         format('howdah resume-schedule %s', s.name), jsonb_build_object('paused_at', s.paused_at)
    from howdah.schedule s
   where s.paused_at is not null and s.retired_at is null and not s.over;
end
$$;
comment on function howdah.health_of_schedules(timestamptz) is 'What is wrong with schedules: they cannot fire, or nobody fires them.';
