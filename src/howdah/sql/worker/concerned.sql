-- Everything that these transitions will touch: the tasks, whom they tell and send to, and whom their end cancels.
create or replace function howdah.concerned(transitions jsonb) returns bigint[]
language plpgsql
-- In PL/pgSQL, like everything that runs with each pump: before PostgreSQL 18 an SQL function is planned at each call.
as $$
begin
  return array(select (x ->> 'id')::bigint from jsonb_array_elements(concerned.transitions) x)
      || array(select (x ->> 'parent')::bigint from jsonb_array_elements(concerned.transitions) x where x ? 'parent')
      || array(select (s ->> 'to')::bigint from jsonb_array_elements(concerned.transitions) x, jsonb_array_elements(x -> 'send') s)
      || case when concerned.transitions @? '$[*].to ? (@ == "cancelled")'
              then howdah.descendants(array(select (x ->> 'id')::bigint from jsonb_array_elements(concerned.transitions) x where x ->> 'to' = 'cancelled')) end;
end
$$;
comment on function howdah.concerned(jsonb) is 'The ids of all tasks that these transitions touch, to be locked in one go.';
