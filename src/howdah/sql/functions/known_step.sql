create or replace function howdah.known_step(kind text, step text) returns howdah.kind
language plpgsql stable
as $$
declare
  known howdah.kind := howdah.known_kind(known_step.kind);
  names text;
begin
  if known.steps is null then
    if known_step.step is not null then
      raise exception using errcode = 'HW002', message = format('kind %s has no steps, so it has no step %L', known.name, left(known_step.step, 100)),
        hint = 'Leave step out';
    end if;
    return known;
  elsif known_step.step is null or not known.steps ? known_step.step then
    select string_agg(s.key, ', ' order by (s.value ->> 'position')::int) into names from jsonb_each(known.steps) s;
    raise exception using errcode = 'HW002', hint = format('Give one of its steps: %s', names),
      message = case when known_step.step is null then format('kind %s is a state machine, and step is missing', known.name)
                     else format('kind %s has no step %L', known.name, left(known_step.step, 100)) end;
  end if;
  return howdah.rules(known_step.kind, known_step.step);
end
$$;
comment on function howdah.known_step(text, text) is 'What holds at this step of a kind. Errors: HW001 unknown kind, HW002 unknown step, or none where one is needed.';
