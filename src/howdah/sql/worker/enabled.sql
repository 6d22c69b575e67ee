create or replace function howdah.enabled(kinds text[]) returns text[]
language plpgsql
as $$
begin
  return array(select x from unnest(enabled.kinds) x where not exists (select from howdah.kind k where k.name = x and k.disabled_at is not null));
end
$$;
comment on function howdah.enabled(text[]) is 'Those of these kinds that are not disabled.';
