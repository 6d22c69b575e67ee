create or replace function howdah.rules(kind text, step text) returns howdah.kind
language sql stable
as $$
  select r.* from howdah.kind k cross join lateral jsonb_populate_record(k, coalesce(k.steps -> rules.step, '{}')) r
   where k.name = rules.kind
$$;
comment on function howdah.rules(text, text) is 'What holds at this step: the row of the kind, with what the step sets otherwise. NULLs for an unknown kind.';
