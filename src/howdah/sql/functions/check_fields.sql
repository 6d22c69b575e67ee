-- As far as JSON Schema's names go; types are for the handler's own code to check.
create or replace function howdah.check_fields(kind text, step text, payload jsonb) returns void
language plpgsql stable
as $$
declare
  rules howdah.kind;
  wrong text;
begin
  if jsonb_typeof(check_fields.payload) <> 'object' then
    raise exception using errcode = 'HW003', message = format('payload must be a JSON object, not %s', jsonb_typeof(check_fields.payload)),
      hint = 'Write it like {"user_id": 42}';
  end if;
  rules := howdah.known_step(check_fields.kind, check_fields.step);
  if rules.signature ? 'properties' then
    select string_agg(x.what, '; ') into wrong from (
      select 'missing: ' || string_agg(r, ', ') as what from jsonb_array_elements_text(rules.signature -> 'required') r
       where not check_fields.payload ? r
      union all
      select 'unexpected: ' || string_agg(k, ', ') from jsonb_object_keys(check_fields.payload) k
       where not rules.signature -> 'properties' ? k and rules.signature -> 'additionalProperties' = 'false') x;
    if wrong is not null then
      raise exception using errcode = 'HW003',
        message = format('the payload does not fit %s: %s', concat_ws('.', check_fields.kind, check_fields.step), wrong),
        hint = format('Its fields are: %s', (select string_agg(k, ', ') from jsonb_object_keys(rules.signature -> 'properties') k));
    end if;
  end if;
end
$$;
comment on function howdah.check_fields(text, text, jsonb) is 'Error HW003 for a payload whose fields are not those of the step, by name; HW001, HW002 for an unknown kind or step.';
