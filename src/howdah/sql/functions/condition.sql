-- What a filter means, said once: for find, count_tasks, the verbs that end in _all, and export_tasks.
create or replace function howdah.condition(filter jsonb, live boolean default true) returns text
language plpgsql stable
as $$
declare
  clauses text[] := '{true}';
  field   text;
  value   jsonb;
  word    text;
begin
  if jsonb_typeof(condition.filter) is distinct from 'object' then
    raise exception using errcode = 'HW002', message = 'the filter must be a JSON object', hint = 'Write it like {"kind": "welcome", "status": "failed"}';
  end if;
  for field, value in select f.key, f.value from jsonb_each(condition.filter) f where f.value <> 'null' loop
    word := value #>> '{}';
    if condition.live and field like 'finished\_%' then
      raise exception using errcode = 'HW002', message = format('%s is for ended tasks, and these are live', field), hint = 'Leave it out';
    end if;
    begin
      clauses := clauses || case field
        when 'all' then 'true'
        when 'ids' then format('t.id = any (%L::bigint[])', array(select e::bigint from jsonb_array_elements_text(value) e))
        when 'status' then format('t.status = any (%L::text[])', howdah.known_statuses(value, condition.live))
        when 'kind' then format('t.kind = %L', word)
        when 'queue' then format('t.queue = %L', word)
        when 'step' then format('t.step = %L', word)
        when 'key' then case when right(word, 1) = '*' then format('starts_with(t.key, %L)', left(word, -1)) else format('t.key = %L', word) end
        when 'group' then format('t.groups @> array[%L]', word)
        when 'error' then format('position(%L in lower(concat_ws(E''\n'', t.error, t.last_error, t.reason))) > 0', lower(word))
        when 'parent' then format('t.parent = %L::bigint', word::bigint)
        when 'created_after' then format('t.created_at >= %L::timestamptz', word::timestamptz)
        when 'created_before' then format('t.created_at < %L::timestamptz', word::timestamptz)
        when 'finished_after' then format('t.finished_at >= %L::timestamptz', word::timestamptz)
        when 'finished_before' then format('t.finished_at < %L::timestamptz', word::timestamptz)
        else '' end;
    exception when data_exception then
      raise exception using errcode = 'HW002', message = format('%s cannot be %s', field, left(value::text, 80)), hint = sqlerrm;
    end;
    if clauses[cardinality(clauses)] = '' then
      raise exception using errcode = 'HW002', message = format('there is no filter %L', left(field, 80)),
        hint = 'There are: ids, status, kind, queue, step, key, group, error, parent, created_after, created_before, finished_after, finished_before';
    end if;
  end loop;
  return array_to_string(clauses, ' and ');
end
$$;
comment on function howdah.condition(jsonb, boolean) is
  'A filter as a condition on a task t. Its fields: ids (array), status (one, or an array), kind, queue, step, key (exact; how it begins, if it ends in *), group, error (a text in error, last_error or reason, in any case of letters), parent, created_after, created_before; of ended tasks finished_after, finished_before too. Error HW002 for another field or a value that cannot be meant.';
