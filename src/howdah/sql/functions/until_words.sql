create or replace function howdah.until_words(until timestamptz) returns text
language sql stable
as $$
  select case when until > howdah.now() + interval '500 years' then 'for good' else 'until ' || date_trunc('second', until) end
$$;
comment on function howdah.until_words(timestamptz) is 'How long a key is taken: until then, or for good.';
