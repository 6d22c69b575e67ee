-- The Python side says it in the same words, in durations.py.
create or replace function howdah.in_words(seconds double precision) returns text
language sql immutable
as $$
  select case
    when seconds < 0.9995 then round(seconds * 1000) || 'ms'
    when seconds < 59.95 then trim_scale(round(seconds::numeric, 1)) || 's'
    when s < 3600 then s / 60 || 'm' || coalesce(' ' || nullif(s % 60, 0) || 's', '')
    when s < 86400 then s / 3600 || 'h' || coalesce(' ' || nullif(s % 3600 / 60, 0) || 'm', '')
    else s / 86400 || 'd' || coalesce(' ' || nullif(s % 86400 / 3600, 0) || 'h', '')
  end from (select round(least(in_words.seconds, 1e15))::bigint) x (s)
$$;
comment on function howdah.in_words(double precision) is 'A length of time as people say it: 1h 30m.';
