create or replace function howdah.pattern_of(name text) returns text
language sql immutable
as $$
  select replace(regexp_replace(pattern_of.name, '([\\%_])', '\\\1', 'g'), '*', '%')
$$;
comment on function howdah.pattern_of(text) is 'The name of a limit with * as LIKE takes it.';
